"""Summarizes a recipe from its shapes alone: parameters, FLOPs, memory and schedule. No array is made."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

from palmetto.model.weights import Table, active, weight_table
from palmetto.parallel import schedules
from palmetto.recipe import Recipe
from palmetto.recipe.objectives import extra_tokens
from palmetto.tokens.order import Ramp
from palmetto.training import energy, optimization
from palmetto.training.flops import flops_per_token
from palmetto.training.learning_rate import learning_rate

FLOAT32_BYTES = 4


def plan(recipe: Recipe) -> dict[str, Any]:
    """Returns the parameters, FLOPs, memory and schedule of a recipe as plain values, in counts, FLOPs and bytes.

    Tokens are tokens of text. An objective may need more positions than the T tokens of a window; FLOPs are counted for
    positions.
    """
    model, training, length = recipe.model, recipe.training, recipe.tokens.sequence_length
    table = weight_table(model, recipe.model_vocabulary)
    total = sum(specification.size for specification in table.values())
    ramp = Ramp(training.batch_ramp)
    sequences = ramp.sequences_before(training.steps + 1)
    per_token = flops_per_token(recipe)
    return {
        "recipe": recipe.name,
        "parameters": {
            "total": total,
            "active": active(model, recipe.model_vocabulary),
            "by_matrix": {name: specification.size for name, specification in table.items()},
        },
        "experts": model.experts.model_dump() if model.experts else None,
        "flops_per_token": per_token,
        "flops": per_token * sequences * recipe.model_length,
        "memory_bytes": {
            "parameters": FLOAT32_BYTES * total,
            "gradients": FLOAT32_BYTES * total,
            "optimizer": _optimizer_bytes(recipe, table),
        },
        "steps": training.steps,
        "sequences": sequences,
        "tokens": sequences * length,
        "objective": training.objective.model_dump(),
        "example": {
            "tokens": length,
            "positions": recipe.model_length,
            "extra_tokens": extra_tokens(training.objective, length),
        },
        "batch": [
            {"from_step": first + 1, "sequences": size, "tokens": size * length, "leaves": size // training.micro_batch}
            for first, size in training.batch_ramp
        ],
        "pipeline": {
            "stages": recipe.mesh.stage,
            "schedule": recipe.mesh.schedule,
            "filled": [filled._asdict() for filled in schedules.filled(recipe)],
        }
        if recipe.mesh.stage > 1
        else None,
        "schedule": {
            **training.schedule.model_dump(),
            "first": learning_rate(training, 1),
            "cooldown_after": training.steps_before_cooldown if training.schedule.cooldown else None,
            "last": learning_rate(training, training.steps),
        },
        "optimizer": training.optimizer.model_dump(),
    }


def describe(values: dict[str, Any]) -> str:
    """Returns the values of `plan`, and of `energy.here` if they have it as "energy", as lines of text."""
    parameters, memory, schedule = values["parameters"], values["memory_bytes"], values["schedule"]
    unit = "token" if values["example"]["positions"] == values["example"]["tokens"] else "position"
    sizes = [f"{_gib(memory[what])} {what}" for what in ("parameters", "gradients")]
    sizes.append(f"{_gib(memory['optimizer'])} optimizer state (float32)")
    batches = (
        f"{b['sequences']} sequences ({b['tokens']:,} tokens) from step {b['from_step']:,}" for b in values["batch"]
    )
    rates = [f"{schedule['name']}: {schedule['first']:.4g} at step 1", f"{schedule['last']:.4g} at the last"]
    if cooldown := schedule["cooldown"]:
        rates.insert(1, f"{cooldown['shape']} cool-down after step {schedule['cooldown_after']:,}")
    rows = [
        ("parameters", [f"{parameters['total']:,} total", f"{parameters['active']:,} active"]),
        ("", [f"{name} {size:,}" for name, size in parameters["by_matrix"].items()]),
    ]
    if values["experts"]:
        rows.append(("experts", _experts(values["experts"])))
    rows += [
        ("FLOPs", [f"{values['flops_per_token']:.4g} a {unit}", f"{values['flops']:.4g} in all"]),
        ("memory", sizes),
        ("steps", [f"{values['steps']:,}"]),
        ("tokens", [f"{values['tokens']:,}"]),
    ]
    if values["objective"]["name"] != "causal":
        rows.append(("objective", _objective(values["objective"]["name"], values["example"])))
    rows.append(("batch", list(batches)))
    if values["pipeline"]:
        rows.append(("pipeline", _pipeline(values["pipeline"])))
    rows += [("learning rate", rates), ("optimizer", list(_choices(values["optimizer"])))]
    if "energy" in values:
        rows.append(("energy", energy.describe(values["energy"])))
    lines = [f"  {label:14}{text}" for label, parts in rows for label, text in _labelled(label, parts)]
    return "\n".join([values["recipe"], *lines])


def _optimizer_bytes(recipe: Recipe, table: Table) -> int:
    """Returns the bytes of the optimizer's state."""
    moments = optimization.declare(recipe.training.optimizer, table).values()
    count_of_updates = 1
    return FLOAT32_BYTES * (count_of_updates + sum(math.prod(each.shape) for of in moments for each in of.values()))


def _experts(experts: dict[str, Any]) -> list[str]:
    count, every, capacity = experts["count"], experts["every"], experts["capacity_factor"]
    where = "in every layer" if every == 1 else f"every {_ordinal(every)} layer"
    return [
        f"{count} {where}",
        f"top {experts['top']}",
        "dropless" if capacity is None else f"capacity {capacity}",
    ]


def _choices(section: dict[str, Any]) -> Iterator[str]:
    """Yields a section's values, except those that are None."""
    for key, value in section.items():
        if value is not None:
            yield f"{key} {('no', 'yes')[value] if isinstance(value, bool) else value}"


def _pipeline(pipeline: dict[str, Any]) -> list[str]:
    parts = [f"{pipeline['stages']} stages", pipeline["schedule"]]
    for filled in pipeline["filled"]:
        idle = f"idle for {filled['bubble']:.1%} of the time with {filled['micro_batches']} micro-batches"
        parts += [f"{idle}, from step {filled['from_step']:,}"]
    return parts


def _objective(name: str, example: dict[str, int]) -> list[str]:
    parts = [name]
    if example["positions"] != example["tokens"]:
        parts.append(f"{example['positions']:,} positions for {example['tokens']:,} tokens")
    if extra := example["extra_tokens"]:
        parts.append(f"{extra:,} token{'s' * (extra > 1)} beyond the vocabulary")
    return parts


def _labelled(label: str, parts: Iterable[str], width: int = 104) -> list[tuple[str, str]]:
    """Joins parts by commas into lines of at most `width` characters. Only the first line has the label."""
    lines = [""]
    for part in parts:
        if lines[-1] and len(lines[-1]) + len(part) + 3 > width:
            lines[-1] += ","
            lines.append("")
        lines[-1] += f", {part}" if lines[-1] else part
    return list(zip([label, *[""] * (len(lines) - 1)], lines, strict=True))


def _ordinal(number: int) -> str:
    last = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{last}"


def _gib(size: int) -> str:
    return f"{size / 2**30:,.2f} GiB" if size >= 2**30 else f"{size / 2**20:,.1f} MiB"
