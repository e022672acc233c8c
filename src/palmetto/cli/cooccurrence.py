"""`palmetto cooccurrence`."""

from pathlib import Path
from typing import Annotated

import typer

from palmetto.cli.common import Json, answer, path


def cooccurrence(
    out: Annotated[Path, typer.Argument(metavar="OUT", parser=path, help="The folder of an evaluation.")],
    most: Annotated[int, typer.Option(min=1, help="The number of words to show of each term.")] = 10,
    as_json: Json = False,
) -> None:
    """Show the adjectives and adverbs that a model uses most about people, after `--tasks cooccurrence`."""
    from palmetto.evaluation.cooccurrence import words

    counted = {term: dict(counts.most_common(most)) for term, counts in words(out).items()}
    lines = (f"{term}  {', '.join(f'{word} {count}' for word, count in of.items())}" for term, of in counted.items())
    answer(counted, "\n".join(lines), as_json)
