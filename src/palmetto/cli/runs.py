"""Steps that several commands on runs share: they read the recipe, find the directory and print the summary."""

from pathlib import Path
from typing import TYPE_CHECKING

from palmetto.cli.common import answer
from palmetto.errors import UserError

if TYPE_CHECKING:
    from palmetto.recipe import Recipe
    from palmetto.runs.directory import RunDirectory


def prepare(
    recipe: str, overrides: list[str] | None, source: str | None, run: Path | None
) -> "tuple[Recipe, RunDirectory]":
    """Returns the recipe with the command line's changes, and its run directory.

    Raises UserError if the environment allows no reproducible run, if the directory cannot be used, or if a run that
    has not begun has settings that make no sense.
    """
    from palmetto.host import variables
    from palmetto.recipe import loading, sense
    from palmetto.recipe.section import is_unicode
    from palmetto.runs.directory import RunDirectory

    variables.check()
    chosen = [*(overrides or []), *([loading.override("corpus.source", source)] if source is not None else [])]
    resolved = from_anywhere(loading.load(recipe, chosen))
    if run is None:
        sense.check_name(resolved.name, "--run")
    path = run or Path("runs") / resolved.name
    if not is_unicode(str(path.absolute())):
        raise UserError(f"--run {str(path)!a}: not UTF-8, and checkpoints take no other path; expected another")
    named = resolved.corpus.source
    if named not in (None, "python") and path.resolve() == Path(str(named)).resolve():
        raise UserError(
            f"--run {path}: the source itself; expected another directory, as in {path}/run, which is no part of it"
        )
    directory = RunDirectory(path)
    if not directory.begun:
        sense.check(resolved)
    return resolved, directory


def from_anywhere(recipe: "Recipe") -> "Recipe":
    """Returns the recipe with an absolute source, so that its run can be resumed from any working directory."""
    if recipe.corpus.source in (None, "python"):
        return recipe
    corpus = recipe.corpus.model_copy(update={"source": str(Path(recipe.corpus.source).absolute())})
    return recipe.model_copy(update={"corpus": corpus})


def check_devices(recipe: "Recipe", devices: int) -> None:
    """Raises UserError if JAX cannot start or this process cannot have `devices` devices, before any text is read."""
    from palmetto.host import environment

    environment.check(recipe.training.threads)
    if devices > recipe.training.threads:  # otherwise nothing can be refused, and preparing can wait
        environment.prepare(recipe.training.threads, devices=devices)


def existing(directory: Path) -> "RunDirectory":
    """Returns the run in `directory`; raises UserError if there is none."""
    from palmetto.runs.directory import RunDirectory

    return RunDirectory.existing(directory)


def answer_summary(run: "RunDirectory", as_json: bool) -> None:
    """Prints the summary that training has written, or its main figures in three lines."""
    from palmetto.recipe.objectives import PreferencesObjective, loss_unit
    from palmetto.runs.files import read_summary
    from palmetto.training import energy

    summary = read_summary(run.summary)
    assert summary is not None
    losses = {
        name: "not measured" if loss is None else f"{loss:.4f}"
        for name, loss in dict(summary["validation_loss"]).items()
    }
    objective = run.recipe.training.objective
    of_pairs = isinstance(objective, PreferencesObjective)
    beside = "log 2 for the base" if of_pairs else f"unigram entropy {summary['unigram_entropy']:.4f}"
    text = (
        f"{run.path}: step {summary['steps']}, {summary['tokens']:,} tokens, {summary['parameters']:,} parameters\n"
        f"  validation loss {losses['first']} → {losses['last']} {loss_unit(objective)} "
        f"(best {losses['best']}); {beside}\n"
        f"  {summary['tokens_per_second']:,.0f} tokens/s, MFU {summary['mfu']:.1%}; parameters "
        f"{summary['digest']['parameters'][:16]}, optimizer {summary['digest']['optimizer'][:16]}"
    )
    if "energy" in summary:
        text += f"\n  energy {', '.join(energy.describe(summary['energy']))}"
    answer(summary, text, as_json)
