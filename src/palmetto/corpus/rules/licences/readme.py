"""Reads the licence of a project from its README."""

import re

from palmetto.corpus.rules.licences import statements

_CHARACTERS = 1 << 16
_HEADING = re.compile(
    r"^[ \t]*(?:#+|=+|\*+|h\d\.)?[ \t]*(?:\d+[.)][ \t]*)?(?:[\w&/,-]+[ \t]+){0,3}?"
    r"(?:licen[cs](?:e|es|ing)|copying|copyright)(?:[ \t]+[\w&/,-]+){0,3}[ \t]*:?[ \t]*[#=*]*[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)
_TITLE = re.compile(r"^[ \t]*(?:#+|=+|h\d\.)[ \t].*$", re.MULTILINE)
_NEXT = re.compile(r"^[ \t]*(?:#+ |=+ |h\d\.)|^[^\n]+\n[=~^-]{3,}[ \t]*$", re.MULTILINE)
_UNDERLINE = re.compile(r"[ \t]*\n[=~^\"'*+-]{3,}[ \t]*\n")
_SECTION = 1200


def stated(text: str) -> str | None:
    """Returns the licence that a README's section on it names, else that of a sentence on the project itself."""
    text = text[:_CHARACTERS]
    for heading in _HEADING.finditer(text):
        start = heading.end()
        if underline := _UNDERLINE.match(text, start):
            start = underline.end()
        following = _NEXT.search(text, start)
        section = text[start : following.start() if following else len(text)][:_SECTION]
        if found := statements.stated(section) or statements.named(section):
            return found
    return statements.stated(_TITLE.sub(r"\g<0>\n\n", text), others=False)
