"""What a recipe amounts to, from its shapes alone: no array is made."""

from typing import Any

from palmetto.model.parameters import specifications
from palmetto.recipe import Recipe
from palmetto.tokens.order import Ramp
from palmetto.training.flops import flops_per_token
from palmetto.training.schedule import learning_rate

FLOAT32_BYTES = 4


def plan(recipe: Recipe) -> dict[str, Any]:
    """Parameters, FLOPs, memory and schedule of a recipe, as plain values in counts, FLOPs and bytes."""
    training, length = recipe.training, recipe.tokens.sequence_length
    table = specifications(recipe.model, recipe.tokens.vocabulary_size)
    total = sum(specification.size for specification in table.values())
    ramp = Ramp(training.batch_stages)
    sequences = ramp.sequences_before(training.steps + 1)
    per_token = flops_per_token(recipe)
    return {
        "recipe": recipe.name,
        "parameters": {
            "total": total,
            "active": total,
            "by_matrix": {name: specification.size for name, specification in table.items()},
        },
        "flops_per_token": per_token,
        "flops": per_token * sequences * length,
        "memory_bytes": {
            "parameters": FLOAT32_BYTES * total,
            "gradients": FLOAT32_BYTES * total,
            "optimizer": 2 * FLOAT32_BYTES * total,
        },
        "steps": training.steps,
        "sequences": sequences,
        "tokens": sequences * length,
        "batch": [
            {"from_step": first + 1, "sequences": size, "tokens": size * length, "leaves": size // training.micro_batch}
            for first, size in training.batch_stages
        ],
        "schedule": {
            **training.schedule.model_dump(),
            "first": learning_rate(training, 1),
            "last": learning_rate(training, training.steps),
        },
        "optimizer": training.optimizer.model_dump(),
    }


def describe(values: dict[str, Any]) -> str:
    """The same for people."""
    memory, schedule = values["memory_bytes"], values["schedule"]
    ramp = ", ".join(f"{b['sequences']} sequences ({b['tokens']:,} tokens) from step {b['from_step']:,}"
                     for b in values["batch"])  # fmt: skip
    rows = [
        ("parameters", f"{values['parameters']['total']:,} total, {values['parameters']['active']:,} active"),
        ("", ", ".join(f"{name} {size:,}" for name, size in values["parameters"]["by_matrix"].items())),
        ("FLOPs", f"{values['flops_per_token']:.4g} a token, {values['flops']:.4g} in all"),
        ("memory", f"{_gib(memory['parameters'])} parameters, {_gib(memory['gradients'])} gradients, "
                   f"{_gib(memory['optimizer'])} optimizer state (float32)"),
        ("steps", f"{values['steps']:,}"),
        ("tokens", f"{values['tokens']:,}"),
        ("batch", ramp),
        ("learning rate", f"{schedule['name']}: {schedule['first']:.4g} at step 1, {schedule['last']:.4g} at the last"),
        ("optimizer", ", ".join(f"{key} {value}" for key, value in values["optimizer"].items())),
    ]  # fmt: skip
    return "\n".join([values["recipe"], *(f"  {label:14}{text}" for label, text in rows)])


def _gib(size: int) -> str:
    return f"{size / 2**30:,.2f} GiB" if size >= 2**30 else f"{size / 2**20:,.1f} MiB"
