"""`palmetto compare`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from palmetto.cli.common import Json, answer, path
from palmetto.errors import UserError


def compare(
    folders: Annotated[list[Path], typer.Argument(metavar="OUT OUT …", parser=path, help="Folders of evaluations.")],
    page: Annotated[
        Path | None, typer.Option(parser=path, metavar="FILE.html", help="Also write a page with all side by side.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare evaluations with the first one, example by example, and say how many examples would be needed."""
    from palmetto.evaluation.comparison import compare_all

    if len(folders) < 2:
        raise UserError(f"{folders[0]}: one evaluation; expected at least two to compare")
    compared = compare_all(folders)
    if page is not None:
        from palmetto.evaluation import comparison_page

        comparison_page.write(compared, page)
    left_out = [f"{name}  {why}" for name, why in compared["unpaired"].items()]
    answer(compared, "\n".join([*_lines(compared["tasks"] | compared["means"]), *left_out]), as_json)


def _lines(tasks: dict[str, Any]) -> list[str]:
    lines = []
    for name, values in tasks.items():
        for other in values["others"]:
            low, high = other["difference_interval"]
            needed = "" if other["needed"] is None else f"; {other['needed']:,} examples would show it"
            lines.append(
                f"{name}  {values['first']['value']:.2f} → {other['value']:.2f}  {other['difference']:+.2f} "
                f"[{low:+.2f}, {high:+.2f}] on {values['count']:,} examples{needed}  {other['folder']}"
            )
    return lines
