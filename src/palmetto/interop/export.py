"""Exports a checkpoint of a run to another program's format; the environment must have been entered before."""

from pathlib import Path
from typing import Any, NamedTuple

from palmetto.decoding import trained
from palmetto.errors import UserError
from palmetto.files import write_text
from palmetto.interop import check, folder, peer
from palmetto.interop.check import Checked
from palmetto.interop.source import Source
from palmetto.interop.targets import RECIPE, TARGETS, VOCABULARY
from palmetto.recipe import Recipe, loading
from palmetto.runs.directory import RunDirectory
from palmetto.training.checkpoint import Checkpoints


class Exported(NamedTuple):
    """Holds the step, the paths of an export's files in its folder, and what was compared, None without a runtime."""

    step: int
    files: list[str]
    checked: Checked | None


def export(
    run: RunDirectory, target: str, out: Path, step: int | None, dtype: str, python: Path | None = None
) -> Exported:
    """Writes an export of a checkpoint, by default of the newest, and compares it if a runtime's Python is given.

    Raises UserError if the target is not exact for the recipe, if `out` holds anything but an export, or if there is no
    such checkpoint.
    """
    check_type(target, dtype)
    if run.checkpoints.resolve() in out.resolve().parents:
        raise UserError(f"--out {out}: within the checkpoints of {run.path}; expected another place")
    folder.check(out)

    out = out.resolve()

    def look(checkpoints: Checkpoints, chosen: int) -> Exported:
        source = Source(run, checkpoints, chosen)
        with folder.made(out, _facts(source, target, dtype)) as made:
            TARGETS[target].write(source, made, dtype)
            write_text(made / RECIPE, loading.dump(_without_paths(source)))
            source.vocabulary.save(made / VOCABULARY)
        checked = None if python is None else _check(source, target, out, dtype, python)
        return Exported(chosen, folder.names(out), checked)

    return trained.read(run, step, look)


def check_type(target: str, dtype: str) -> None:
    """Raises UserError if a target does not hold weights of a type."""
    if dtype not in TARGETS[target].types:
        raise UserError(f"--dtype {dtype}: expected {' or '.join(TARGETS[target].types)} for {target}")


def _check(source: Source, target: str, out: Path, dtype: str, python: Path) -> Checked:
    runtime, read = peer.RUNTIMES[target], TARGETS[target].read
    asked = check.question(source, runtime.misread + source.vocabulary.misread)
    theirs = peer.ask(runtime, python, out, asked)
    ours = check.answer(source, source.rounded(dtype) if read is None else read(out, source.recipe), asked)
    bound = runtime.bound(dtype, source.recipe.model.feedforward)
    return check.compare(asked, ours, theirs, source.vocabulary.ends, bound)


def _facts(source: Source, target: str, dtype: str) -> dict[str, Any]:
    return {
        "target": target,
        "dtype": dtype,
        "recipe": source.recipe.name,
        "step": source.manifest.step,
        "parameters": source.manifest.parameters,
    }


def _without_paths(source: Source) -> Recipe:
    """Returns the recipe without the places of its text, base and examples, and without evaluations beside training.

    Of a fine-tuning's base and examples the names stay. What the recipe's digest covers stays as it is.
    """
    recipe, begun = source.recipe, source.recipe.finetuning
    build = recipe.corpus.build and recipe.corpus.build.model_copy(update={"root": None})
    text = recipe.corpus.source if recipe.corpus.source == "python" else None
    if begun is not None:
        data = tuple(each.model_copy(update={"path": Path(each.path).name}) for each in begun.data)
        begun = begun.model_copy(update={"base": Path(begun.base).name, "data": data})
    return recipe.model_copy(
        update={
            "corpus": recipe.corpus.model_copy(update={"source": text, "build": build}),
            "training": recipe.training.model_copy(update={"evaluations": None}),
            "finetuning": begun,
        }
    )
