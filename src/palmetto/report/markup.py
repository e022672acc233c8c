"""Escapes text for HTML, and builds the elements that pages repeat."""

import html
from collections.abc import Iterable

# Characters that HTML drops, alters or rejects are shown as control pictures, ␀ … ␟ and ␡. Tab and newline stay.
_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {127: 0x2421}


def escape(text: object) -> str:
    """Returns HTML that shows any text, including markup, control characters and lone surrogates."""
    sound = str(text).encode("utf-8", "replace").decode()
    return html.escape(sound.translate(_PICTURES))


def block(text: str, kind: str = "") -> str:
    """Returns a block of fixed-width text that keeps white space."""
    # A browser drops a newline directly after the tag, so one is always added.
    return f'<pre dir="auto"{_class(kind)}>\n{escape(text)}</pre>'


def pairs(values: Iterable[tuple[str, str]], kind: str) -> str:
    """Returns a list of names and values; the values are HTML."""
    return f"<dl{_class(kind)}>" + "".join(f"<div>{_pair(*pair)}</div>" for pair in values) + "</dl>"


def _pair(name: str, value: str) -> str:
    return f"<dt>{escape(name)}</dt><dd>{value}</dd>"


def table(head: Iterable[tuple[str, str]], rows: Iterable[tuple[str, Iterable[str]]]) -> str:
    """Returns a table that scrolls if it is long. head: (name, class) of each column; rows: (class, cells as HTML)."""
    head = list(head)
    names = "".join(f"<th{_class(kind)}>{escape(name)}</th>" for name, kind in head)
    body = "\n".join(
        f"<tr{_class(row_kind)}>"
        + "".join(f"<td{_class(kind)}>{cell}</td>" for (_, kind), cell in zip(head, cells, strict=True))
        + "</tr>"
        for row_kind, cells in rows
    )
    return f'<div class="scroll"><table><thead><tr>{names}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
