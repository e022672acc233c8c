"""Reads the licence that a file of code states in its own comments."""

import re

from palmetto.corpus.rules.licences.expressions import copyleft, joined, names
from palmetto.corpus.rules.licences.statements import stated
from palmetto.corpus.rules.licences.texts import permissive

_TAG = re.compile(r"SPDX-License-Identifier:[ \t]*([^\r\n]+)", re.IGNORECASE)
_LATER_TAG = re.compile(
    r"^[ \t]*[#/*;%<!.\"'({-]*[ \t]*(?:dnl|rem|--)?[ \t]*SPDX-License-Identifier:[ \t]*([^\r\n]+)", re.M | re.I
)
_CHARACTERS = 4096
_LONGEST = 1 << 16
_COMMENTS = re.compile(
    r"(?:\s+|(?:#|//|--|;|%|!|dnl )[^\n]*|/\*.*?\*/|<!--.*?-->|\"\"\".*?\"\"\"|'''.*?'''|\{-.*?-\}|\(\*.*?\*\)"
    r"|<\?[^>]*>|<!doctype[^>]*>)*",
    re.DOTALL | re.IGNORECASE,
)
_REMARK = re.compile(
    r"^[ \t]*(?:(?:[#/*;%!@:]|--|[({<][-*!]|dnl |rem ).*|[\w$.]*licen[cs]e\w*[ \t]*[:=].*)$", re.M | re.I
)
"""Lines after the first comment that may still state a licence: comments, and values named so."""
HINT = (
    r"(?i)spdx-license-identifier|public[^a-z]{1,12}licen[cs]e|gnu[^a-z]{1,12}licen[cs]e|common[^a-z]{1,12}development"
    r"|\b(?:a|l)?gpl|\b(?:mpl|epl|eupl|cddl|cpl|ipl|osl|nposl|cpal|qpl|rpl|rpsl|apsl|npl|spl|sspl|busl|bsl|gfdl|fdl)\b"
    r"|\b(?:mpl|epl|eupl)v|open[^a-z]{1,12}software[^a-z]{1,12}licen|free[^a-z]{1,12}documentation|copyleft"
    r"|share[^a-z]{0,12}alike|non[^a-z]{0,12}commercial|no[^a-z]{0,12}deriv|\bby[ -](?:sa|nc|nd)|sleepycat|cecill|sissl"
    r"|business[^a-z]{1,12}source|commons[^a-z]{1,12}clause|polyform|elastic[^a-z]{1,12}licen|\bms.rl|cdla|cern.ohl"
    r"|reciprocal|odbl|open[^a-z]{1,12}data|cryptographic[^a-z]{1,12}autonomy|\bcal.1|liliq|industry[^a-z]{1,12}standards"
)
"""An RE2 expression that matches every text that names a copyleft licence; it is much faster than the full search."""
_HINT = re.compile(HINT)


def header(text: str) -> str | None:
    """Returns the licence that a file states in its first comment and its first 4096 characters.

    It is the `SPDX-License-Identifier`, else a statement in words of copyleft or of a choice that includes it. Several
    identifiers apply together (REUSE). Further down, only a copyleft identifier on a line of its own counts, which
    covers a part of the file. A permissive licence in words does not override the repository's.
    """
    comments = _COMMENTS.match(text, 0, _LONGEST)
    first = comments.end() if comments else 0
    end = max(_CHARACTERS, first)
    tags, parts = [], []
    if "spdx-license-identifier" in text.lower():
        tags = [tag for found in _TAG.finditer(text, 0, end) if (tag := _tag(found[1]))]
        parts = [tag for found in _LATER_TAG.finditer(text, end) if (tag := _tag(found[1])) and copyleft(tag)]
    if tags:
        return joined([*tags, *parts])
    line = text.rfind("\n", 0, first) + 1
    rest = first if text[line:first].strip() else line
    words = "\n".join([text[:rest], *_REMARK.findall(text, rest, end)])
    licence = stated(words, permissive(words)) if _HINT.search(words) else None
    if licence and any(copyleft(name) for name in names(licence)):
        parts.append(licence)
    return joined(parts)


def _tag(value: str) -> str:
    """Returns an expression without the end of the surrounding comment."""
    return re.split(r"\*/|-->|\"\"\"|'''|\?>|-\}|\*\)", value)[0].strip().rstrip("\"'").strip()
