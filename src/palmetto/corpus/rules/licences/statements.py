"""Finds licences stated in prose: "released under the GPLv3", "License: GPL", "either the MIT license or the GPL".

A name alone is no statement, because a program may mention licences that do not apply to it.
"""

import re
from collections.abc import Iterator

from palmetto.corpus.rules.licences.names import Mention, mentions

_COMMENT = re.compile(
    r"^[ \t]*(?:(?:#|//|/\*+|\*+/?|--+|;+|%+|<!--|\"{3}|'{3}|rem\b|dnl\b|!|\.\.|\(\*|\{-)[ \t]*)+", re.M | re.I
)
_BLANK = re.compile(r"\n[ \t]*\n")
_STOP = re.compile(r"\.(?=\s|$)|[;!?]")
_VERSION_STOP = re.compile(r"\bv(?:er)?\. +(?=\d)")
_OTHERS = re.compile(r"[^a-z0-9+.]+")
_LATER = re.compile(
    r"(?:,? ?either)? (?:under )?version \d(?:\.\d)?(?: of the(?: gnu(?: \w+){0,2})? licen[cs]e)?"
    r" or (?:at your (?:option|choice) )?(?:any )?(?:later|newer|greater)(?: versions?)?"
)
"""The GNU notices' words on versions, whose "or" and "option" are no choice between licences."""
_UNDER = re.compile(
    r"\b(?:under|subject to|governed by|covered by|protected by|pursuant to|in accordance with"
    r"|terms(?: and conditions)? of|conditions of|licen[cs]ed (?:as|with|by|to you as)|licen[cs]e is"
    r"|made available (?:as|via))\b"
)
_LABEL = re.compile(
    r"\b(?:licen[cs]e[sd]?|lizenz|licenza|licencia)(?: (?:is|are|osi approved|type|name|text|the|gnu|terms|this|file"
    r"|software|badge|note|notice|id|identifier|https?|www\S*|url|see|value|a|an))*$|\bcopyright\b.{0,80}$"
    r"|\blicen[cs]e (?:of|for) \S+(?: \S+){0,4} is(?: the)?$"
)
_OFFERED = re.compile(r"\b(?:dual|multi|tri|double|triple)(?:ly)? licen[cs]\w*|\b(?:choose|choosing|choice)\b")
_LICENSED = re.compile(r" ?licen[cs]ed\b")
_SUBJECT = re.compile(r"\b(?:this|is|are)\b")
_DENIED = re.compile(
    r"\b(?:not|never|no longer|previously|formerly|unlike|n t)"
    r"(?: (?:be|been|is|are|code|software|licen[cs]ed|released|distributed|available|published"
    r"|covered|governed|made|to|a|the|of|terms|under|by|subject))*$"
)
_CHOICE = re.compile(
    r"\b(?:dual|multi|tri|double|triple|either|choice|choose|chosen|choosing|option|optionally|whichever|alternatives?)\b"
)
_ALTERNATIVELY = re.compile(r"\balternatively\b")
_OR = re.compile(r"\bor\b")
_OF_SOMETHING_ELSE = re.compile(
    r"\b(?:which|that|whose|librar(?:y|ies)|dependenc(?:y|ies)|icons?|images?|fonts?|documentation|docs|data|datasets?"
    r"|assets?|models?|artwork|logos?|examples?|based on|uses?|using|bundled|bundles?|includes?|contains?|plugins?|some"
    r"|parts?|portions?|third|party|if|when|e\.g|like|other|files? in)\b"
)
_THIS = re.compile(r"\b(?:this|our) \w+")
_NEAR = 80
"""The greatest distance, in characters, between names that belong to one statement."""
_SHORT = 1500
"""The length, in characters, up to which every name in a licence file without a licence's text counts."""


def simplified(text: str) -> str:
    """Returns lower-case words separated by single spaces, with " . " between sentences and paragraphs, without
    punctuation.
    """
    text = _BLANK.sub(" . ", _COMMENT.sub("", text.lower()))
    text = _STOP.sub(" . ", _VERSION_STOP.sub("v", text))
    return _OTHERS.sub(" ", text).strip()


def stated(text: str, before: str | None = None, *, others: bool = True) -> str | None:
    """Returns the licences that sentences of a text state, as an expression, or None.

    before: a permissive licence whose text comes before, to which "alternatively" adds another. others: False to ignore
    statements that are probably about something other than the text's own project.
    """
    found: list[str] = []
    for sentence, group in _groups(text, others):
        licence = _expression(sentence, group)
        above = " AND ".join(found) or before
        if _ALTERNATIVELY.search(sentence) and above:
            found = [f"{_bracketed(above, 'AND')} OR {licence}"]
        elif licence not in found:
            found.append(licence)
    return " AND ".join(_bracketed(each, "OR") if len(found) > 1 else each for each in found) or None


def choice(text: str, before: str | None = None) -> str | None:
    """Returns the choice between copyleft and a permissive licence that a sentence offers, as an expression, or
    None.
    """
    for sentence, group in _groups(text):
        if _is_mixed(group) and _is_chosen(sentence, group):
            return _expression(sentence, group)
        if before and _ALTERNATIVELY.search(sentence) and group[0].copyleft:
            return f"{before} OR {_expression(sentence, group)}"
    return None


def named(text: str) -> str | None:
    """Returns all licences named in a short text on nothing else: a licence file, a section or a name."""
    if len(text) > _SHORT:
        return None
    words = _LATER.sub(" ", simplified(text))
    return _expression(words, mentions(words)) or None


def _expression(sentence: str, group: list[Mention]) -> str:
    listed = list(dict.fromkeys(mention.licence for mention in group))
    return (" OR " if _is_chosen(sentence, group) else " AND ").join(listed)


def _bracketed(expression: str, operator: str) -> str:
    return f"({expression})" if f" {operator} " in expression else expression


def _groups(text: str, others: bool = True) -> Iterator[tuple[str, list[Mention]]]:
    """Yields sentences that state a licence, with the first licence stated and those named shortly after it."""
    for part in simplified(text).split(" . "):
        sentence = _LATER.sub(" ", part)
        found = mentions(sentence)
        first = next((number for number, each in enumerate(found) if _is_stated(sentence, each, others)), None)
        if first is not None:
            group = [found[first]]
            for following in found[first + 1 :]:
                if following.start - group[-1].end > _NEAR:
                    break
                group.append(following)
            yield sentence, group


def _is_stated(sentence: str, mention: Mention, others: bool) -> bool:
    before, after = sentence[max(0, mention.start - 240) : mention.start].rstrip(), sentence[mention.end :]
    if not before and len(after) < _NEAR and not after.startswith(" is "):
        return True
    if not others and _OF_SOMETHING_ELSE.search(_THIS.sub("", before)):
        return False
    if _LABEL.search(before) or _OFFERED.search(before):
        return True
    if _LICENSED.match(after) and _SUBJECT.search(before):
        return True
    under = list(_UNDER.finditer(before))
    return bool(under) and not _DENIED.search(before[: under[-1].start()].rstrip())


def _is_mixed(group: list[Mention]) -> bool:
    return len({mention.copyleft for mention in group}) == 2


def _is_chosen(sentence: str, group: list[Mention]) -> bool:
    """Returns whether one may choose between the licences of a group."""
    if len(group) < 2:
        return False
    between = sentence[group[0].end : group[-1].start]
    return bool(_CHOICE.search(sentence) or (_is_mixed(group) and _OR.search(between)))
