"""What the commands on runs share: a recipe and its directory from the command line, and the answer of a training."""

from pathlib import Path
from typing import TYPE_CHECKING

from palmetto.cli.common import answer
from palmetto.errors import UserError

if TYPE_CHECKING:
    from palmetto.recipe import Recipe
    from palmetto.run_directory import RunDirectory


def prepare(
    recipe: str, overrides: list[str] | None, source: str | None, run: Path | None
) -> "tuple[Recipe, RunDirectory]":
    """The recipe with what the command line changes in it, and the directory of its run."""
    from palmetto import recipes
    from palmetto.run_directory import RunDirectory

    chosen = [*(overrides or []), *([recipes.override("corpus.source", source)] if source is not None else [])]
    resolved = recipes.load(recipe, chosen)
    if resolved.corpus.source not in (None, "python"):  # so that the run can be gone on with from anywhere
        corpus = resolved.corpus.model_copy(update={"source": str(Path(resolved.corpus.source).absolute())})
        resolved = resolved.model_copy(update={"corpus": corpus})
    directory = run or Path("runs") / resolved.name
    if (
        resolved.corpus.source not in (None, "python")
        and directory.resolve() == Path(str(resolved.corpus.source)).resolve()
    ):
        raise UserError(f"--run {directory}: the source itself; expected another directory, as in {directory}/run, "
                        "which is no part of the source")  # fmt: skip
    return resolved, RunDirectory(directory)


def check_devices(recipe: "Recipe", devices: int) -> None:
    """UserError if this process cannot have so many, before it reads any text."""
    from palmetto import environment

    if devices > recipe.training.threads:  # else there is nothing to refuse, and the environment can wait
        environment.prepare(recipe.training.threads, devices=devices)


def existing(directory: Path) -> "RunDirectory":
    """A run that is there; UserError where it is not."""
    from palmetto.run_directory import RunDirectory

    return RunDirectory.existing(directory)


def answer_summary(run: "RunDirectory", as_json: bool) -> None:
    """What a training came to."""
    from palmetto.files import read_json

    summary = read_json(run.summary)
    losses = summary["validation_loss"]
    text = (
        f"{run.path}: step {summary['steps']}, {summary['tokens']:,} tokens, {summary['parameters']:,} parameters\n"
        f"  validation loss {losses['first']:.4f} → {losses['last']:.4f} nats a token (best {losses['best']:.4f}); "
        f"unigram entropy {summary['unigram_entropy']:.4f}\n"
        f"  {summary['tokens_per_second']:,.0f} tokens/s, MFU {summary['mfu']:.1%}; parameters "
        f"{summary['digest']['parameters'][:16]}, optimizer {summary['digest']['optimizer'][:16]}"
    )
    answer(summary, text, as_json)
