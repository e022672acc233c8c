"""Reads the licence that a package's description states: package.json, Cargo.toml, pyproject.toml, pom.xml and
others.
"""

import json
import re
from typing import Any

from palmetto.corpus.rules.licences.expressions import UNRECOGNIZED, joined, unrecognized
from palmetto.corpus.rules.licences.names import mentions
from palmetto.corpus.rules.licences.statements import named

_JSON = re.compile(r"(?:package|composer|bower|codemeta|meta|deno|jsr|vcpkg|dub|haxelib|elm)\.json")
_XML = re.compile(
    r"(?:pom|package)\.xml|directory\.build\.props|.*\.(?:nuspec|[cfv][sb]proj|(?:metainfo|appdata)\.xml)"
)
_ASSIGNING = re.compile(
    r"(?:cargo|pyproject|fpm|gleam)\.toml|setup\.(?:cfg|py)|(?:package|snapcraft)\.yaml|(?:meta|galaxy|shard)\.yml"
    r"|pkg-info|description|pkgbuild|meson\.build|citation\.cff|mix\.exs|project\.clj|build\.sbt|conanfile\.py"
    r"|(?:makefile|build)\.pl|dub\.sdl|v\.mod|.*\.(?:gemspec|podspec|rockspec|cabal|opam|spec|ebuild|asd|nimble)"
)
"""Descriptions in which a line assigns the licence."""
_CHARACTERS = 1 << 18

_ASSIGNED = re.compile(
    r"""(?:^[ \t]*[\w.\[:@$"']*?\b|[(,{][ \t\n]*[:"']?)licen[cs]es?["']?[ \t]*(?:=>|:=|=|:(?!:)|(?=[ \t]["'{]))[ \t]*"""
    r"""(?P<value>"[^"\n]*"|'[^'\n]*'|[\[({][^\])}]{0,500}[\])}]|[^\n]*)""",
    re.IGNORECASE | re.MULTILINE,
)
_QUOTED = re.compile(r"""["']([^"'\n]{1,200})["']""")
_CLASSIFIER = re.compile(r"License :: (?:OSI Approved :: )?([^\"'\n,]+)")
_XML_NAME = re.compile(
    r"<license\b[^>]*>\s*(?:<name>([^<]*)</name>(?:\s*<url>([^<]*)</url>)?|([^<]+))"
    r"|<(?:PackageLicenseExpression|project_license)>([^<]*)<",
    re.IGNORECASE,
)


def is_manifest(name: str) -> bool:
    """Returns whether a file's name is that of a package's description."""
    return _kind(name) is not None


def _kind(name: str) -> re.Pattern[str] | None:
    return next((kind for kind in (_JSON, _XML, _ASSIGNING) if kind.fullmatch(name.lower())), None)


def stated(name: str, text: str) -> str | None:
    """Returns the licence that a package's description states, as an expression.

    The result is UNRECOGNIZED if the statement is not understood, and None if there is none.
    """
    kind = _kind(name)
    text = text[:_CHARACTERS]
    found = _json(name, text) if kind is _JSON else _xml(text) if kind is _XML else _assigned(text)
    if found is None:
        return None
    if mentions(_spelt(found), expression=True):
        return found
    return UNRECOGNIZED if unrecognized(found) else None


def _json(name: str, text: str) -> str | None:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None
    return of_field(next((values[field] for field in ("license", "licence", "licenses") if values.get(field)), None))


def of_field(value: Any) -> str | None:
    """Returns the licence of a description's field: a name, an object with a name, or a list to choose from."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, dict):
        fields = ("spdx_id", "spdx", "type", "identifier", "key", "id", "name", "url", "@id")
        named_by = [value[field] for field in fields if isinstance(value.get(field), str) and value[field].strip()]
        return named_by[0].strip() if named_by else None
    if isinstance(value, list):
        parts = [part for each in value if (part := of_field(each))]
        return " OR ".join(f"({part})" if " " in part else part for part in parts) or None
    return None


def _xml(text: str) -> str | None:
    """Returns the licence, or the choice between several, as Maven defines it."""
    found = [
        next((group for group in match.groups() if group and group.strip()), "") for match in _XML_NAME.finditer(text)
    ]
    parts = [part for each in found if (part := named(each) or each.strip())]
    return " OR ".join(f"({part})" if " " in part else part for part in dict.fromkeys(parts)) or None


def _assigned(text: str) -> str | None:
    """Returns the licence of `license = "…"`, `license: …`, `s.licenses = ["…", "…"]`, and of Python's classifiers."""
    found = []
    for match in _ASSIGNED.finditer(text):
        for each in _QUOTED.findall(match["value"]) or [re.split(r"\s+#|\s+//|;", match["value"])[0]]:
            if mentions(_spelt(each), expression=True):
                found.append(each.strip(" \t,{}[]"))
    found += [each.strip() for each in _CLASSIFIER.findall(text) if mentions(_spelt(each), expression=True)]
    return joined(found)


def _spelt(value: str) -> str:
    return " ".join(re.sub(r"[^a-z0-9+.]+", " ", value.lower()).split())
