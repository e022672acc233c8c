"""Writing of summary.json, the main figures of a training."""

from palmetto.files import write_json
from palmetto.host import environment
from palmetto.model.weights import count
from palmetto.recipe import Recipe
from palmetto.runs.directory import RunDirectory
from palmetto.runs.files import read_events, read_metrics
from palmetto.tokens.packing import unigram_entropy
from palmetto.tokens.store import TokenStore
from palmetto.training import energy
from palmetto.training.replay import LivePath
from palmetto.training.utilization import utilization


def write(
    run: RunDirectory,
    recipe: Recipe,
    path: LivePath,
    step: int,
    digests: tuple[str, str],
    validation_store: TokenStore,
    peak: float,
) -> None:
    """Writes the summary of a run at `step` of its live path.

    `digests` are those of parameters and optimizer state; `peak` is the FLOP/s that the MFU is relative to.
    """
    losses = _validation_losses(run, path)
    seconds = _seconds_a_sequence(run, path)
    parameters, optimizer = digests
    here = environment.record(recipe.mesh_record, recipe.inelastic)
    rate = recipe.tokens.sequence_length / seconds[len(seconds) // 2] if seconds else 0.0
    write_json(
        run.summary,
        {
            "recipe": recipe.name,
            "parameters": count(recipe.model, recipe.model_vocabulary),
            "steps": step,
            "tokens": sum(line.sequences for line in path.lines[:step]) * recipe.tokens.sequence_length,
            "validation_loss": {
                "first": next(iter(losses), None),
                "last": next(reversed(losses), None),
                "best": min(losses, default=None),
            },
            "unigram_entropy": unigram_entropy(validation_store),
            "tokens_per_second": round(rate, 1),
            "mfu": round(utilization(recipe, rate, peak), 4),
            "peak_flops": peak,
            "rollbacks": path.history.attempt,
            "skipped_steps": path.history.not_finite,
            "digest": {"parameters": parameters, "optimizer": optimizer},
            "environment": here,
            "energy": energy.of_run(run, recipe, here),
        },
    )


def _validation_losses(run: RunDirectory, path: LivePath) -> list[float]:
    """Returns the validation losses on the live path by ascending step; if a step was measured twice, the later one."""
    live = {
        event["step"]: event["loss"]
        for event in read_events(run.events)
        if event["event"] == "validation"
        and event["step"] <= path.step
        and path.history.is_live(event["attempt"], event["step"])
    }
    return [live[step] for step in sorted(live)]


def _seconds_a_sequence(run: RunDirectory, path: LivePath) -> list[float]:
    """Returns the seconds per sequence of the measured steps of the live path, ascending."""
    newest = {(m["attempt"], m["step"]): m["seconds"] for m in read_metrics(run.metrics)}
    of_lines = ((newest.get((line.attempt, line.step)), line.sequences) for line in path.lines)
    return sorted(seconds / sequences for seconds, sequences in of_lines if seconds is not None)
