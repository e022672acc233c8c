"""Turns chat logs (IRC) into dialogue, one line per message, whatever format the client used."""

import re

_TIME = r"(?:\[?\(?(?:\d{4}[-/.]\d\d[-/.]\d\d[T ])?\d{1,2}:\d\d(?::\d\d)?(?:\.\d+)?Z?\)?\]?[ \t]+)?"
_NICK = r"[@+%&~ ]?([^\s<>]{1,32})"
_SAID = re.compile(rf"^{_TIME}<{_NICK}>[ \t]?(.*)$")
_DID = re.compile(rf"^{_TIME}\*[ \t]+([^\s<>*]{{1,32}})[ \t]+(.*)$")
_SERVER = re.compile(
    rf"^{_TIME}(?:-!-|\*{{3}}|-->|<--|--|===)(?:[ \t]|$)|^(?:--- (?:Log|Day)|Session (?:Start|Close|Ident))"
)
_FORMAT = re.compile(r"\x03(?:\d{1,2}(?:,\d{1,2})?)?|[\x02\x0f\x11\x16\x1d\x1e\x1f]")
_SHARE = 0.8


def dialogue(text: str) -> str | None:
    """Returns lines `nick: words` and `* nick does`, or None if the text is not a chat log.

    In a log, four of five lines are messages, actions or the server's. Times, colours and the server's lines are left
    out.
    """
    lines = [line for line in _FORMAT.sub("", text).splitlines() if line.strip()]
    spoken: list[str] = []
    known = said = 0
    for line in lines:
        if _SERVER.match(line):
            known += 1
        elif found := _SAID.match(line):
            known, said = known + 1, said + 1
            spoken.append(f"{found.group(1)}: {found.group(2)}")
        elif found := _DID.match(line):
            known += 1
            spoken.append(f"* {found.group(1)} {found.group(2)}")
        else:
            spoken.append(line)
    return "\n".join(spoken) + "\n" if said and known >= _SHARE * len(lines) else None
