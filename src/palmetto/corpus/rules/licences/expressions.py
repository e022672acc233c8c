"""Evaluates SPDX expressions: whether they allow only copyleft, and whether all of their names are known."""

import re
from functools import lru_cache

from palmetto.corpus.rules.licences.names import mentions

UNRECOGNIZED = "LicenseRef-unrecognized"
"""The licence of a licence file or statement that is not understood."""
NOT_ASSERTED = ("NOASSERTION", "OTHER", "UNKNOWN")
"""Stated for a repository whose licence the source of the statement did not recognize."""
_NONE = ("NONE", "")
_DEPTH = 50
"""The number of brackets from which only names are read, because the parser is recursive and expressions are
arbitrary.
"""
_NEUTRAL = re.compile(
    r"(?:v|ver|version)?\.?[\d.]*\+?|the|gnu|licen[cs]e\S*|version|later|newer|any|only|of|terms|under|either|at|your"
    r"|option|file|files|see|in|is|osi|approved|dual|software|general|public|and|international|unported|generic|md|txt"
    r"|copying\S*|https?:?"
)
"""Words that name no licence, as in "the GPL, see COPYING"."""
_AT_YOUR_OPTION = re.compile(r"\(\s*at your (?:option|choice)\s*\)")
_ADDRESS = re.compile(r"https?://\S*")
_TOKEN = re.compile(r"\(|\)|/|\|\|?|&&?|[^\s()/|&]+")
_OPERATORS = {"or": "OR", "/": "OR", "|": "OR", "||": "OR", "and": "AND", "&": "AND", "&&": "AND", "with": "WITH"}
_Token = str | bool | None
"""A bracket or an operator; or, for a name, whether it is copyleft, None if unknown."""


def copyleft(expression: str) -> bool:
    """Returns whether an expression allows only copyleft: OR needs one permissive branch, AND needs all.

    AND binds more tightly than OR; an exception (WITH) does not make a copyleft licence permissive. An unknown licence
    is neither copyleft nor a permissive branch ("GPL-2.0 OR commercial"). Case is ignored; abbreviations and full names
    are understood ("GPLv2+", "GNU General Public License v3.0"). Anything that is no expression is read as names that
    all apply.
    """
    return _judged(expression)[0]


def unrecognized(expression: str) -> bool:
    """Returns whether an expression names a licence that is known neither as copyleft nor as permissive."""
    return _judged(expression)[1]


@lru_cache(1 << 14)
def _judged(expression: str) -> tuple[bool, bool]:
    tokens = _tokens(expression)
    strange = any(token is None for token in tokens)
    if tokens.count("(") > _DEPTH:
        return any(token is True for token in tokens), strange
    result, rest = _either(tokens)
    while rest:
        more, rest = _either(rest[1:] if rest[0] == ")" else rest)
        result = _both(result, more)
    return bool(result), strange


def _words(expression: str) -> str:
    """Returns the expression in lower case with single spaces; brackets and operators are kept."""
    text = _AT_YOUR_OPTION.sub(" at your option ", expression.lower()).replace("and/or", "or")
    text = _ADDRESS.sub(lambda found: _of_address(found[0]), text)
    return re.sub(r"[^a-z0-9+.()/|&]+", " ", text).strip()


def _of_address(address: str) -> str:
    """Returns the licence that an address names."""
    words = re.sub(r"[^a-z0-9+.]+", " ", address)
    return next((words[each.start : each.end] for each in mentions(words, expression=True)), "address")


def _tokens(expression: str) -> list[_Token]:
    words = _words(expression)
    tokens: list[_Token] = []
    position = 0
    for mention in [*mentions(words, expression=True), None]:
        between = words[position : mention.start if mention else len(words)]
        for word in _TOKEN.findall(between):
            if word in "()":
                tokens.append(word)
            elif word in _OPERATORS:
                tokens.append(_OPERATORS[word])
            elif not _NEUTRAL.fullmatch(word):
                tokens.append(None)
        if mention:
            tokens.append(mention.copyleft)
            position = mention.end
    return _without_exceptions(tokens)


def _without_exceptions(tokens: list[_Token]) -> list[_Token]:
    """Returns the tokens without WITH and the names after it."""
    kept: list[_Token] = []
    skipping = False
    for token in tokens:
        if token == "WITH":
            skipping = True
        elif isinstance(token, str):
            skipping = False
        if not skipping:
            kept.append(token)
    return kept


def _both(a: bool | None, b: bool | None) -> bool | None:
    """Returns the result of two terms that both apply; None says nothing."""
    return b if a is None else a if b is None else a or b


def _either(tokens: list[_Token]) -> tuple[bool | None, list[_Token]]:
    result, rest = _all(tokens)
    while rest and rest[0] == "OR":
        other, rest = _all(rest[1:])
        result = other if result is None else result if other is None else result and other
    return result, rest


def _all(tokens: list[_Token]) -> tuple[bool | None, list[_Token]]:
    result, rest = _one(tokens)
    while rest and rest[0] not in (")", "OR"):
        other, rest = _one(rest[1:] if rest[0] == "AND" else rest)
        result = _both(result, other)
    return result, rest


def _one(tokens: list[_Token]) -> tuple[bool | None, list[_Token]]:
    if not tokens or tokens[0] in (")", "OR", "AND"):
        return None, tokens
    first, rest = tokens[0], tokens[1:]
    if first == "(":
        result, rest = _either(rest)
        return result, rest[1:]
    return (first if isinstance(first, bool) else None), rest


def names(expression: str) -> set[str]:
    """Returns the licences of an expression in capitals without versions: {"GPL", "MIT"} for "MIT OR GPL-2.0-only"."""
    return {family(mention.licence) for mention in mentions(_words(expression), expression=True)}


def family(licence: str) -> str:
    """Returns a licence's name in capitals without its version."""
    return re.sub(r"-\d.*", "", licence).upper()


def combined(stated: str | None, filed: str | None) -> str | None:
    """Returns a repository's licence from the stated one and that of its licence files.

    The statement counts, unless the file is a copyleft licence that the statement does not mention; then both do.
    """
    if stated is None or stated.strip().upper() in _NONE:
        return filed
    if stated.strip().upper() in NOT_ASSERTED:
        return filed or UNRECOGNIZED
    if filed and copyleft(filed) and not copyleft(stated) and not names(filed) <= names(stated):
        return f"({stated}) AND ({filed})"
    return stated


def joined(expressions: list[str]) -> str | None:
    """Returns the licence of several files: as they do not say that one may choose, all apply."""
    unique = sorted(set(expressions))
    return (
        " AND ".join(f"({each})" if " " in each else each for each in unique)
        if len(unique) > 1
        else "".join(unique) or None
    )
