"""Building the corpus of a recipe, with its vocabulary and a datasheet."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from palmetto.errors import UserError
from palmetto.recipe import Recipe

if TYPE_CHECKING:
    from palmetto.corpus.engine import LocalEngine
    from palmetto.corpus.ray_engine import RayEngine
    from palmetto.corpus.stage import Say


def build(recipe: Recipe, out: Path, say: "Say", engine: str = "local", workers: int | None = None) -> dict[str, Any]:
    """Builds clean, weighted documents and a datasheet in `out`, and returns the manifest (corpus/build.py).

    Raises UserError if the recipe names no sources.
    """
    if recipe.corpus.build is None:
        raise UserError(f"{recipe.name} has no corpus.build, the sources that a corpus is made of; palm-mix has one")
    from palmetto.corpus import build as pipeline
    from palmetto.corpus import extras
    from palmetto.corpus.datasheet import page as datasheet
    from palmetto.tokens.counting import Counter
    from palmetto.workflow.progress import Watch

    extras.check()
    tokens = recipe.tokens
    counter = Counter(tokens.vocabulary, tokens.vocabulary_size, recipe.corpus.section_bytes)
    with Watch() as watch, _engine(engine, workers) as started:
        manifest = pipeline.build(recipe.corpus.build, counter, out, started, watch.say, watch.engine)
    datasheet.write(manifest, recipe.name, out)
    say(f"datasheet: {out / 'datasheet.html'}")
    return manifest


def _engine(name: str, workers: int | None) -> "LocalEngine | RayEngine":
    if name == "ray":
        from palmetto.corpus.ray_engine import RayEngine

        return RayEngine(workers)
    from palmetto.corpus.engine import LocalEngine

    return LocalEngine(workers)


def describe(manifest: dict[str, Any]) -> str:
    """Returns a table of the mixture, one line per source, with the wanted and the actual share."""
    from palmetto.corpus.datasheet.sheet import Sheet

    sheet = Sheet(manifest)
    lines = [f"{'source':16}{'documents':>11}{'bytes':>15}{'tokens':>13}{'share':>8}{'wanted':>8}{'there':>14}"]
    for source in sheet.sources:
        there = sheet.available[source]
        lines.append(
            f"{source:16}{sheet.of(source, 'documents'):11,}{sheet.of(source, 'bytes'):15,}"
            f"{sheet.of(source, 'tokens'):13,}{sheet.share(source):8.1%}{sheet.wanted(source):8.1%}{there:14,}"
        )
    return "\n".join(lines)
