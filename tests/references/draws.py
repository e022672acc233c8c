"""Draws recipes and meshes from the whole catalogue, small enough to compile in seconds."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from palmetto.recipe import Recipe
from tests.references.spread import on

Choose = Callable[[Sequence[Any]], Any]
"""(choices) → one of them."""

POSITIONS: list[dict[str, Any]] = [
    {"name": "rotary"},
    {"name": "rotary", "scaling": "interpolation", "factor": 2.0},
    {"name": "alibi"},
    {"name": "t5", "buckets": 6, "max_distance": 9},
    {"name": "t5", "buckets": 8, "max_distance": 9, "bidirectional": True},
    {"name": "transformer_xl"},
    {"name": "learned", "length": 32},
    {"name": "sinusoidal"},
]
ATTENTIONS: list[dict[str, Any]] = [
    {"name": "full"},
    {"name": "local", "window": 5, "every": 2},
    {"name": "strided", "stride": 3},
    {"name": "sinks", "sinks": 2, "window": 4},
    {"name": "parallel_windows", "window": 4, "count": 2},
    {"name": "memory", "window": 4, "layer": 1, "neighbours": 2},
]
EXPERTS: list[dict[str, Any] | None] = [
    None,
    {"count": 4},
    {"count": 4, "every": 1, "capacity_factor": 0.75, "router_z_loss": 0.1},
    {"count": 3, "top": 3, "d_ff": 11, "feedforward": "gelu"},
]
OBJECTIVES: list[dict[str, Any]] = [{"name": "causal"}, {"name": "prefix"}, {"name": "spans"}, {"name": "mixture"}]
OPTIMIZERS: list[dict[str, Any]] = [
    {"name": "adafactor"},
    {"name": "adafactor", "factored": True, "momentum": 0.0, "update_clip": 1.0, "weight_decay": False},
    {"name": "adafactor", "factored": True, "decay": 0.99, "parameter_scale": False},
    {"name": "adamw"},
    {"name": "adamw", "b1": 0.0, "weight_decay": 0.0},
]
MESHES = [
    {"pod": pod, "data": data, "zero": zero}
    for pod in (1, 2, 4)
    for data in (1, 2, 4, 8)
    for zero in ((0, 1, 2, 3) if data > 1 else (3,))
    if 1 < pod * data <= 8
]


ROWS = 320


class Case(NamedTuple):
    recipe: Recipe
    """The recipe for one device."""
    meshes: list[dict[str, int]]
    """Other layouts of the recipe."""


def draw_case(choose: Choose, more: int = 0) -> Case:
    """Returns the first drawn combination that a recipe can have, on a mesh with 1, 2 or 4 leaves for each device.

    Up to `more` other meshes on which it can be are drawn too.
    """
    while True:
        mesh = choose(MESHES)
        devices = mesh["pod"] * mesh["data"]
        experts = choose(EXPERTS if choose([False, False, True]) else [None])
        micro_batch = choose([1, 2, 3])
        leaves = devices * choose([1, 1, 2, 4])
        batch_size = {0: leaves * micro_batch}
        if choose([False, False, True]):
            batch_size[3] = 2 * leaves * micro_batch
        objective = choose(OBJECTIVES)
        model = {
            "layers": choose([1, 2]),
            "d_model": choose([16, 32]),
            "heads": 4,
            "key_value_heads": choose([1, 2, 4]),
            "head_size": choose([4, 6]),
            "d_ff": choose([20, 48]),
            "block": choose(["parallel", "serial"]),
            "norm": choose(["layer", "rms"]),
            "norm_position": choose(["pre", "post", "sandwich", "deep"]),
            "norm_bias": choose([False, True]),
            "qk_norm": choose([False, True]),
            "embedding_norm": choose([False, True]),
            "biases": choose([False, True]),
            "tied_embedding": choose([False, True]),
            "feedforward": choose(["relu", "gelu", "gelu_tanh", "swish", "glu", "geglu", "swiglu"]),
            "positions": choose(POSITIONS),
            "attention": choose(ATTENTIONS),
            "experts": experts,
            "activations": choose(["float32", "bfloat16", "float16"]),
        }
        training = {
            "steps": 6,
            "batch_size": batch_size,
            "micro_batch": micro_batch,
            "seed": choose(range(100)),
            "objective": objective,
            "optimizer": choose(OPTIMIZERS),
            "schedule": {"name": "cosine", "warmup": 2, "peak": choose([1e-2, 1e-3]), "decay_steps": 10},
            "clip": choose([None, 0.1, 1.0]),
            "z_loss": choose([0.0, 1e-4, 0.1]),
            "embedding_gradient": choose([1.0, 0.25]),
            "rematerialize": choose(["nothing", "projections", "block"]),
            "loss_scale": {"initial": choose([1, 1024]), "growth_interval": 3},
        }
        tokens = {"vocabulary_size": ROWS, "sequence_length": choose([8, 16])}
        values = {"name": "drawn", "tokens": tokens, "model": model, "training": training}
        try:
            # Together with the objective's extra tokens the embedding has a number of rows that every mesh divides.
            tokens["vocabulary_size"] -= Recipe.model_validate(values).model_vocabulary - ROWS
            recipe = Recipe.model_validate(values)
            on(recipe, **mesh)
        except ValidationError:
            continue
        others = [other for other in MESHES if other != mesh and _fits(recipe, other)]
        return Case(recipe, [mesh, *(others.pop(choose(range(len(others)))) for _ in range(min(more, len(others))))])


def _fits(recipe: Recipe, mesh: dict[str, int]) -> bool:
    try:
        on(recipe, **mesh)
    except ValidationError:
        return False
    return True
