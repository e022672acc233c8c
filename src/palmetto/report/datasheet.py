"""The datasheet of a corpus, as page and as values: what it holds, where that comes from, and what was left out and why
(after arXiv 1803.09010)."""

from pathlib import Path
from typing import Any

from palmetto.files import write_json, write_text
from palmetto.report import datasheet_figures as figures
from palmetto.report import svg
from palmetto.report.canvas import write_png
from palmetto.report.frame import frame
from palmetto.report.markup import block, escape, pairs, table
from palmetto.report.sheet import Sheet

_MOST_ROWS = 200


def write(manifest: dict[str, Any], name: str, folder: Path) -> None:
    """Writes datasheet.json, .html and .png; the same manifest gives the same bytes."""
    sheet = Sheet(manifest)
    write_json(folder / "datasheet.json", sheet.values())
    write_text(folder / "datasheet.html", page(sheet, name))
    write_png(figures.whole(sheet), folder / "datasheet.png")


def page(sheet: Sheet, name: str) -> str:
    """The page."""
    parts = [
        _figure(sheet, figures.shares, "shares", "Share of tokens", "The share of every source, wanted and taken."),
        _figure(sheet, figures.flow, "flow", "What is left after each stage, of the bytes that were read",
                "The bytes left after each stage, by source."),
        _dropped(sheet),
        _figure(sheet, figures.languages, "languages", "Languages, by tokens", "Tokens by language and source."),
        '<div class="columns">' + _licences(sheet) + _contamination(sheet) + "</div>",
        _not_read(sheet),
        _samples(sheet),
    ]  # fmt: skip
    footer = "Made by <code>palmetto corpus build</code> from the corpus's manifest alone."
    return frame(name, "Palmetto corpus datasheet", _heading(sheet, name), "\n".join(filter(None, parts)), footer)


def _heading(sheet: Sheet, name: str) -> str:
    numbers = [
        ("Documents", f"{sheet.total('documents'):,}"),
        ("Bytes of text", f"{sheet.total('bytes'):,}"),
        ("Tokens", f"{sheet.total('tokens'):,}"),
        ("Sources", f"{len(sheet.sources)}"),
        ("Languages", f"{len(sheet.languages)}"),
        ("Not read", f"{len(sheet.not_read):,}"),
    ]
    verdict = f"Of {sheet.read:,} bytes that were read, {sheet.total('bytes') / max(1, sheet.read):.1%} are in it."
    return f'<h1>{escape(name)}</h1>\n<p class="verdict">{verdict}</p>\n{pairs(numbers, "figures")}'


def _figure(sheet: Sheet, draw: Any, name: str, title: str, label: str) -> str:
    wide, narrow = draw(sheet, 1040), draw(sheet, 360)
    return f"<section><h2>{escape(title)}</h2>{svg.wide_and_narrow(wide, narrow, name, label)}</section>"


def _dropped(sheet: Sheet) -> str:
    rows = [
        ("", [escape(stage), escape(source), escape(reason), f"{count:,}", f"{size:,}", f"{share:.2%}"])
        for stage, source, reason, count, size, share in sheet.dropped
    ]
    head = [("Stage", ""), ("Source", ""), ("Reason", ""), ("Documents", "number"), ("Bytes", "number"),
            ("Of what the source had", "number")]  # fmt: skip
    return f"<section><h2>What was left out, and why</h2>{table(head, rows)}</section>"


def _licences(sheet: Sheet) -> str:
    rows = [("", [escape(licence or "not stated"), f"{count:,}"]) for licence, count in sheet.licences.items()]
    more = len(rows) - _MOST_ROWS
    rows = [*rows[:_MOST_ROWS], ("", ["not recognized, wholly or in part", f"{sheet.unrecognized:,}"])]
    note = f"<p>And {more:,} more, in manifest.json.</p>" if more > 0 else ""
    return f"<section><h2>Licences</h2>{table([('Licence', ''), ('Documents', 'number')], rows)}{note}</section>"


def _contamination(sheet: Sheet) -> str:
    if not sheet.contamination:
        return ""
    rows = [
        ("", [escape(name), f"{of['examples']:,}", f"{of['contaminated']:,}",
              f"{of['contaminated'] / max(1, of['examples']):.1%}"])
        for name, of in sheet.contamination.items()
    ]  # fmt: skip
    head = [("Evaluation set", ""), ("Examples", "number"), ("Contaminated", "number"), ("Share", "number")]
    return f"<section><h2>Contamination</h2>{table(head, rows)}</section>"


def _not_read(sheet: Sheet) -> str:
    if not sheet.not_read:
        return ""
    rows = [("", [escape(p["source"]), escape(p["name"]), escape(p["reason"])]) for p in sheet.not_read[:_MOST_ROWS]]
    more = len(sheet.not_read) - len(rows)
    note = f"<p>And {more:,} more, in manifest.json.</p>" if more > 0 else ""
    head = [("Source", ""), ("File or record", ""), ("Why", "")]
    return f"<section><h2>Not read</h2>{table(head, rows)}{note}</section>"


def _samples(sheet: Sheet) -> str:
    parts = []
    for source, rows in sheet.manifest["samples"].items():
        texts = "".join(f"<p><small>{escape(row['name'])}</small></p>{block(row['text'])}" for row in rows)
        parts.append(f"<h3>{escape(source)}</h3>{texts}")
    return f"<section><h2>Samples, drawn by their ids</h2>{''.join(parts)}</section>"
