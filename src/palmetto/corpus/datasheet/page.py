"""Writes the datasheet of a corpus: what it holds, where that comes from, and what was left out and why.

After Datasheets for Datasets (arXiv 1803.09010).
"""

from pathlib import Path
from typing import Any

from palmetto.corpus.datasheet import figures
from palmetto.corpus.datasheet.sheet import Sheet
from palmetto.files import write_json, write_text
from palmetto.report import svg
from palmetto.report.canvas import write_png
from palmetto.report.frame import frame
from palmetto.report.markup import block, escape, pairs, table

_MOST_ROWS = 200


def write(manifest: dict[str, Any], name: str, folder: Path) -> None:
    """Writes datasheet.json, .html and .png into a folder; the same manifest gives the same bytes."""
    sheet = Sheet(manifest)
    write_json(folder / "datasheet.json", sheet.values())
    write_text(folder / "datasheet.html", page(sheet, name))
    write_png(figures.whole(sheet), folder / "datasheet.png")


def page(sheet: Sheet, name: str) -> str:
    """Returns the page as HTML."""
    parts = [
        _figure(
            sheet,
            figures.shares,
            "shares",
            "Share of tokens",
            "The share of every source, wanted and taken.",
            _limit(sheet),
        ),
        _figure(
            sheet,
            figures.flow,
            "flow",
            "Bytes left after each stage",
            "The bytes left after each stage, by source.",
        ),
        _dropped(sheet),
        _cut(sheet),
        _figure(
            sheet,
            figures.languages,
            "languages",
            "Languages, by tokens",
            "Tokens by language and source.",
            _other_languages(sheet),
        ),
        _licences(sheet),
        _contamination(sheet),
        _not_read(sheet),
        _passed_over(sheet),
        _samples(sheet),
    ]
    footer = "Made by <code>palmetto corpus build</code> from the corpus's manifest alone."
    body = f'<div class="whole">{chr(10).join(filter(None, parts))}</div>'
    return frame(name, "Palmetto corpus datasheet", _heading(sheet, name), body, footer)


def _heading(sheet: Sheet, name: str) -> str:
    numbers = [
        ("Documents", f"{sheet.total('documents'):,}"),
        ("Bytes of text", f"{sheet.total('bytes'):,}"),
        ("Tokens", f"{sheet.total('tokens'):,}"),
        ("Sources", f"{len(sheet.sources)}"),
        ("Languages", f"{len(sheet.languages)}"),
        ("Not read", f"{len(sheet.not_read):,}"),
    ]
    share = sheet.total("bytes") / max(1, sheet.read)
    verdict = f"The corpus holds {share:.1%} of the {sheet.read:,} bytes that were read."
    return f'<h1>{escape(name)}</h1>\n<p class="verdict">{verdict}</p>\n{pairs(numbers, "figures")}'


def _figure(sheet: Sheet, draw: Any, name: str, title: str, label: str, note: str = "") -> str:
    wide, narrow = draw(sheet, 1040), draw(sheet, 360)
    return f"<section><h2>{escape(title)}</h2>{svg.wide_and_narrow(wide, narrow, name, label)}{note}</section>"


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _limit(sheet: Sheet) -> str:
    if sheet.limit is None:
        return ""
    there = sum(sheet.available.values())
    return _note(
        f"{sheet.limit} is scarcest for its weight and is taken whole, so the mixture has "
        f"{sheet.total('tokens'):,} of the {there:,} tokens available."
    )


def _other_languages(sheet: Sheet) -> str:
    others = list(sheet.languages.items())[figures.MOST_LANGUAGES :]
    listed = ", ".join(f"{language or 'not known'} {sum(of.values()):,}" for language, of in others)
    return _note(f"And {len(others):,} more: {listed}.") if others else ""


def _dropped(sheet: Sheet) -> str:
    rows = [
        ("", [escape(stage), escape(source), escape(reason), f"{count:,}", f"{size:,}", f"{share:.2%}"])
        for stage, source, reason, count, size, share in sheet.dropped
    ]
    head = [
        ("Stage", ""),
        ("Source", ""),
        ("Reason", ""),
        ("Documents", "number"),
        ("Bytes", "number"),
        ("Share of the source", "number"),
    ]
    dropped, cut, put = sheet.balance
    sums = _note(
        f"Of the {sheet.read:,} bytes that were read and the {put:,} put in by masking, "
        f"{sheet.total('bytes'):,} are in the corpus, {dropped:,} were in documents that were left out, "
        f"and {cut:,} were cut within others."
    )
    return f"<section><h2>What was left out, and why</h2>{table(head, rows)}{sums}</section>"


def _cut(sheet: Sheet) -> str:
    rows = [
        ("", [escape(stage), escape(source), escape(what), f"{count:,}", f"{size:,}", f"{put:,}", f"{share:.2%}"])
        for stage, source, what, count, size, put, share in sheet.cut
    ]
    head = [
        ("Stage", ""),
        ("Source", ""),
        ("What", ""),
        ("Documents", "number"),
        ("Bytes cut", "number"),
        ("Bytes put in", "number"),
        ("Share of the source", "number"),
    ]
    return f"<section><h2>What was cut within documents that stayed</h2>{table(head, rows)}</section>" if rows else ""


def _licences(sheet: Sheet) -> str:
    rows = [("", [escape(licence or "not stated"), f"{count:,}"]) for licence, count in sheet.licences]
    head = [("Licence", ""), ("Documents", "number")]
    unrecognized = ("", ["not recognized, wholly or in part", f"{sheet.unrecognized:,}"])
    return f"<section><h2>Licences</h2>{_first_rows(head, rows, unrecognized)}</section>"


def _first_rows(head: list[tuple[str, str]], rows: list[tuple[str, list[str]]], *last: tuple[str, list[str]]) -> str:
    """Returns a table of the first and the last rows, with a note on how many are omitted between them."""
    more = len(rows) - _MOST_ROWS
    note = _note(f"And {more:,} more, in manifest.json.") if more > 0 else ""
    return table(head, [*rows[:_MOST_ROWS], *last]) + note


def _contamination(sheet: Sheet) -> str:
    if not sheet.contamination:
        return ""
    rows = []
    for name, counts in sheet.contamination.items():
        examples, contaminated = counts["examples"], counts["contaminated"]
        share = contaminated / max(1, examples)
        rows.append(("", [escape(name), f"{examples:,}", f"{contaminated:,}", f"{share:.1%}"]))
    head = [("Evaluation set", ""), ("Examples", "number"), ("Contaminated", "number"), ("Share", "number")]
    return f"<section><h2>Contamination</h2>{table(head, rows)}</section>"


def _not_read(sheet: Sheet) -> str:
    rows = [
        ("", [escape(p["source"]), escape(p["name"]), escape(p["reason"]), f"{p.get('size', 0):,}"])
        for p in sheet.not_read
    ]
    head = [("Source", ""), ("File or record", ""), ("Why", ""), ("Bytes", "number")]
    return f"<section><h2>Not read</h2>{_first_rows(head, rows)}</section>" if rows else ""


def _passed_over(sheet: Sheet) -> str:
    rows = [("", [escape(text) for text in row]) for row in sheet.passed_over]
    head = [("Source", ""), ("File or folder", ""), ("Why", "")]
    return f"<section><h2>Passed over</h2>{_first_rows(head, rows)}</section>" if rows else ""


def _samples(sheet: Sheet) -> str:
    parts = []
    for source, rows in sheet.manifest["samples"].items():
        texts = "".join(f"<p><small>{escape(row['name'])}</small></p>{block(row['text'])}" for row in rows)
        parts.append(f"<h3>{escape(source)}</h3>{texts}")
    return f"<section><h2>Samples</h2>{''.join(parts)}</section>"
