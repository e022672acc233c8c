"""Writes small runs like those of training with the real ledger, event log and spike detector."""

import math
from collections.abc import Callable

import numpy as np

from palmetto.files import write_json
from palmetto.json_lines import JsonLines
from palmetto.recipe import Recipe
from palmetto.runs.directory import RunDirectory
from palmetto.tokens.order import Ramp
from palmetto.training import energy
from palmetto.training.learning_rate import learning_rate
from palmetto.training.ledger import Ledger, Line
from palmetto.training.spikes import History, Observation, Rollback

RECIPE = """
name: small
tokens: {vocabulary_size: 300, sequence_length: 16}
model: {layers: 2, d_model: 32, heads: 2}
training:
  steps: 120
  batch_size: {0: 8, 60: 16}
  schedule: {peak: 1e-2, hold: 40}
  spikes: {window: 16, rewind: 20, skip: 40}
"""

SAMPLES = """Step 120 of small: continuations of held-out text.
───── prompt
It was
───── greedy
 a dark
\tand stormy night
"""

Loss = Callable[[int, int], float]
"""Maps (step, attempt) to the training loss."""
RunMaker = Callable[..., RunDirectory]


def falling(step: int, attempt: int) -> float:
    """Returns a loss that falls, with a little deterministic noise."""
    return 2 + 6 / (1 + step / 20) + 0.1 * math.sin(7.1 * step + attempt)


def spiking(step: int, attempt: int) -> float:
    """Returns the same loss with a spike at step 70 of the first attempt."""
    return falling(step, attempt) + (3.0 * (step - 69) if attempt == 0 and step >= 70 else 0.0)


def write_run(run: RunDirectory, recipe: Recipe, loss: Loss, steps: int) -> None:
    """Writes ledger, metrics and events up to step `steps` of the live path, with the rollbacks for its spikes."""
    ramp = Ramp(recipe.training.batch_ramp)
    history = History(recipe.training.spikes, lambda a, b: ramp.sequences_before(b + 1) - ramp.sequences_before(a + 1))
    ledger, metrics = Ledger.open(run.ledger), JsonLines(run.metrics)
    run.record_event("validation", text="validation loss 8.1000 at step 0", step=0, attempt=0, loss=8.1)
    while history.step < steps:
        step, attempt = history.step + 1, history.attempt
        value = float(np.float32(loss(step, attempt)))
        line = Line(
            step=step,
            attempt=attempt,
            loss=value,
            grad_norm=value / 4,
            parameter_norm=50 + step / 100,
            z=10 * value,
            learning_rate=learning_rate(recipe.training, step),
            sequences=ramp.sequences(step),
            batch=f"{step:016x}",
            applied=math.isfinite(value),
            parameters=f"{step:064x}" if step % 10 == 0 else None,
            loss_scale=2.0 ** (15 + step // 50) if recipe.model.activations == "float16" else None,
        )
        ledger.append(line)
        metrics.append({"step": step, "attempt": attempt, "seconds": 0.5, "tokens_per_second": 256.0, "mfu": 0.25})
        if not line.applied:
            run.record_event("skipped step", text=f"step {step}: NaN or Inf; parameters left as they were", step=step)
        decision = history.feed(Observation(step, line.loss, line.grad_norm, line.applied))
        if isinstance(decision, Rollback):
            text = f"{decision.reason} from step {decision.onset}: back to step {decision.target}"
            run.record_event("rollback", text=text, checkpoint=0, **decision._asdict())
        elif step % 20 == 0:
            text = f"validation loss at step {step}"
            run.record_event("validation", text=text, step=step, attempt=attempt, loss=value + 0.05)
    ledger.close()
    metrics.close()


def write_summary(run: RunDirectory, recipe: Recipe, steps: int) -> None:
    """Writes summary.json for step `steps`."""
    write_json(
        run.summary,
        {
            "recipe": recipe.name,
            "parameters": 34_560,
            "steps": steps,
            "tokens": 16 * sum(Ramp(recipe.training.batch_ramp).sequences(step) for step in range(1, steps + 1)),
            "validation_loss": {"first": 8.1, "last": 3.0, "best": 3.0},
            "unigram_entropy": 4.5,
            "tokens_per_second": 250.0,
            "mfu": 0.2,
            "peak_flops": 1e9,
            "rollbacks": 0,
            "skipped_steps": 0,
            "digest": {"parameters": "ab" * 32, "optimizer": "cd" * 32},
            "environment": {"jaxlib": "0.10.2", "platform": "cpu", "threads": 8},
            "energy": energy.use(recipe.energy, 1, 7200, 3.6e6, "measured by RAPL"),
        },
    )
