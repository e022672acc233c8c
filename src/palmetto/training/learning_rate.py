"""The learning rate as a pure function of the step."""

import math

from palmetto.recipe.training import Cosine, InverseSqrt, Training


def learning_rate(training: Training, step: int) -> float:
    """Returns the learning rate of a step, counted from 1, in double precision.

    PaLM's schedule (section 5) is 1e-2 for 10,000 steps, then 1/√step.
    """
    schedule = training.schedule
    match schedule:
        case InverseSqrt():
            return schedule.peak * math.sqrt(schedule.hold / max(step, schedule.hold))
        case Cosine():
            if step <= schedule.warmup:
                return schedule.peak * step / schedule.warmup
            end = max(schedule.decay_steps or training.steps, schedule.warmup + 1)
            progress = min(1.0, (step - schedule.warmup) / (end - schedule.warmup))
            return schedule.peak * (schedule.final + (1 - schedule.final) * 0.5 * (1 + math.cos(math.pi * progress)))
