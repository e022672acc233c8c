"""The learning rate as a pure function of the step."""

import math

from palmetto.recipe.training import Constant, Cosine, InverseSqrt, Training


def learning_rate(training: Training, step: int) -> float:
    """Returns the learning rate of a step, counted from 1, in double precision.

    PaLM's schedule (section 5) is 1e-2 for 10,000 steps, then 1/√step. A cool-down multiplies what the schedule gives.
    """
    schedule = training.schedule
    match schedule:
        case InverseSqrt():
            rate = schedule.peak * math.sqrt(schedule.hold / max(step, schedule.hold))
        case Cosine() | Constant() if step <= schedule.warmup:
            rate = schedule.peak * step / schedule.warmup
        case Constant():
            rate = schedule.peak
        case Cosine():
            end = max(schedule.decay_steps or training.steps, schedule.warmup + 1)
            progress = min(1.0, (step - schedule.warmup) / (end - schedule.warmup))
            rate = schedule.peak * (schedule.final + (1 - schedule.final) * 0.5 * (1 + math.cos(math.pi * progress)))
    return rate * _cooldown(training, step)


def _cooldown(training: Training, step: int) -> float:
    """Returns the factor of a step's rate: 1 before the cool-down, `final` at the last step."""
    cooldown, before = training.schedule.cooldown, training.steps_before_cooldown
    if cooldown is None or step <= before:
        return 1.0
    progress = min(1.0, (step - before) / (training.steps - before))
    fallen = progress if cooldown.shape == "linear" else math.sqrt(progress)
    return cooldown.final + (1 - cooldown.final) * (1 - fallen)
