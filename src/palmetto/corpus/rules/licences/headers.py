"""The licence that a file of code states in its own comments."""

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
"""Lines below the first comment that may still speak of a licence: comments, and values that are called so."""
HINT = (
    r"(?i)spdx-license-identifier|public[^a-z]{1,12}licen[cs]e|gnu[^a-z]{1,12}licen[cs]e|common[^a-z]{1,12}development"
    r"|\b(?:a|l)?gpl|\b(?:mpl|epl|eupl|cddl|cpl|ipl|osl|nposl|cpal|qpl|rpl|rpsl|apsl|npl|spl|sspl|busl|bsl|gfdl|fdl)\b"
    r"|\b(?:mpl|epl|eupl)v|open[^a-z]{1,12}software[^a-z]{1,12}licen|free[^a-z]{1,12}documentation|copyleft"
    r"|share[^a-z]{0,12}alike|non[^a-z]{0,12}commercial|no[^a-z]{0,12}deriv|\bby[ -](?:sa|nc|nd)|sleepycat|cecill|sissl"
    r"|business[^a-z]{1,12}source|commons[^a-z]{1,12}clause|polyform|elastic[^a-z]{1,12}licen|\bms.rl|cdla|cern.ohl"
    r"|reciprocal|odbl|open[^a-z]{1,12}data|cryptographic[^a-z]{1,12}autonomy|\bcal.1|liliq|industry[^a-z]{1,12}standards"
)
"""An expression of RE2 that a text without any copyleft licence's name does not match; it is much faster."""
_HINT = re.compile(HINT)


def header(text: str) -> str | None:
    """Returns what a file says of itself in its first comment, however long, and its first 4096 characters:
    `SPDX-License-Identifier`, else a statement of copyleft in words, or of a choice that includes it.

    Several identifiers hold together (REUSE). Further down, only an identifier of copyleft counts, on a line of its
    own: the file has a part under it. A permissive licence in words does not overrule the repository's.
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
    said = stated(words, permissive(words)) if _HINT.search(words) else None
    if said and any(copyleft(name) for name in names(said)):
        parts.append(said)
    return joined(parts)


def _tag(value: str) -> str:
    """An expression without the end of the comment that it stands in."""
    return re.split(r"\*/|-->|\"\"\"|'''|\?>|-\}|\*\)", value)[0].strip().rstrip("\"'").strip()
