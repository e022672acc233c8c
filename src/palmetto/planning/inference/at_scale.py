"""Plans a step of decoding or of prefill on a topology: compiles and simulates it."""

from collections.abc import Callable
from typing import Any

from palmetto.errors import UserError
from palmetto.planning.at_scale import describe_topology
from palmetto.planning.compile import DoesNotFit, compile_phase, require_compiler
from palmetto.planning.inference.division import Division, divide
from palmetto.planning.inference.layouts import LAYOUTS
from palmetto.planning.inference.memory import CACHE_SHARE, cache_bytes, weight_bytes
from palmetto.planning.inference.phases import Phase
from palmetto.planning.inference.roofline import flops, roofline
from palmetto.planning.network.topology import Topology
from palmetto.planning.notes import notes
from palmetto.planning.predict import fitting, misfit, parts, simulate
from palmetto.recipe import Recipe
from palmetto.recipe.model import Model, Weights


def plan(
    recipe: Recipe,
    on: Topology,
    phase: Phase,
    weights: Weights | None,
    layout: str | None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Returns the plan as plain values; seconds, bytes and FLOPs are those of a chip and a step.

    MFU is that of Pope et al. (section 2): 2 FLOPs for each parameter and token over the peak of the chips. The longest
    context is that of a cache in 30 % of the memory, as they have it, and in all that this step leaves. weights: their
    type, by default that of the activations. layout: a name; by default attention is by batch if there is a sequence
    for each chip. Raises UserError if the recipe, the topology or the layout does not suit.
    """
    check(recipe, on, phase)
    name = layout or ("ws2d-heads" if phase.batch % on.chips else "ws2d-batch")
    division = divide(recipe, on, phase, name)
    assert recipe.model.activations != "float16", "refused by the check"
    weights = weights or recipe.model.activations
    values: dict[str, Any] = {
        "recipe": recipe.name,
        "topology": describe_topology(on),
        "phase": phase._asdict(),
        "weights": weights,
        "layout": {"name": name, "title": LAYOUTS[name].title, "mesh": dict(division.sizes)},
        "notes": _notes(recipe.model, on, division),
    }
    of_a_position = cache_bytes(recipe.model, phase, division)
    held = {"weights": weight_bytes(recipe, division, weights), "cache": of_a_position * phase.length}
    if (least := sum(held.values())) > on.chip.usable:
        return values | _misfit(DoesNotFit(0.0, least, least, on.chip.usable), held)
    require_compiler(on)
    say(f"compiling {phase} for {on} ({LAYOUTS[name].title}, {weights} weights)")
    compiled = compile_phase(recipe, on, phase, weights, name)
    if isinstance(compiled, DoesNotFit):
        return values | _misfit(compiled, held)
    simulated = simulate(compiled, on)
    formula = flops(recipe, phase) / on.chips

    def speed(seconds: float) -> dict[str, float]:
        time = {"milliseconds_per_token": 1000 * seconds} if phase.name == "decode" else {"seconds": seconds}
        return {"step_seconds": seconds, **time, "mfu": formula / seconds / on.chip.flops}

    found = fitting(compiled, on)
    left = max(0, on.chip.usable - compiled.memory["peak"])
    return {
        **values,
        **found,
        "memory": found["memory"] | held,
        **speed(simulated.seconds),
        "tokens_per_second": phase.tokens / simulated.seconds,
        "longest_context": int(CACHE_SHARE * on.chip.memory // of_a_position),
        "longest_context_in_all_memory": phase.length + left // of_a_position,
        "roofline": speed(roofline(recipe, on, phase, weights).seconds),
        **parts(simulated.totals, formula),
        "notes": values["notes"] + notes(recipe, on, compiled.program),
    }


def _misfit(found: DoesNotFit, held: dict[str, int]) -> dict[str, Any]:
    values = misfit(found)
    return values | {"memory": values["memory"] | held}


def _notes(model: Model, on: Topology, division: Division) -> list[str]:
    """Returns a note if attention by heads has fewer parts than there are chips."""
    parts = division.parts(division.heads)
    if division.layout.attention != "heads" or division.layout.gathered or parts == on.chips:
        return []
    return [
        f"{model.heads} query and {model.key_value_heads} key/value heads are divided by {parts} of the {on.chips} "
        f"chips, the sequences by {division.parts(division.sequences)}; Pope et al. pad the heads to the chips"
    ]


def check(recipe: Recipe, on: Topology, phase: Phase) -> None:
    """Raises UserError if inference of a recipe on a topology cannot be planned."""
    model, objective = recipe.model, recipe.training.objective.name
    if on.is_gpu:
        raise UserError(f"--topology {on.name}: --decode and --prefill are planned for TPUs: v4:4x4x4 would do")
    if on.slices > 1:
        raise UserError(f"--slices {on.slices}: --decode and --prefill are planned for one slice: leave it out")
    if objective != "causal":
        raise UserError(
            f"training.objective.name={objective}: --decode and --prefill continue text, as a model of the objective "
            "causal does: causal would do"
        )
    if model.activations == "float16":
        raise UserError("model.activations=float16: TPUs decode in bfloat16 or float32: bfloat16 would do")
    if model.experts is not None:
        raise UserError("model.experts: the layouts of --decode and --prefill divide dense layers: null would do")
    if model.positions.add_to_scores:
        raise UserError(
            f"model.positions.name={model.positions.name}: --decode and --prefill are planned without terms in scores: "
            "rotary would do"
        )
    if model.positions.end is not None and model.positions.end < phase.length:
        must = f"--{phase.name} {phase.batch}:{phase.length} has more positions: {phase.length} would do"
        raise UserError(f"model.positions.length={model.positions.end}: {must}")
    if model.attention.searches:
        raise UserError(
            f"model.attention.name={model.attention.name}: --decode and --prefill are planned without searches: "
            "full would do"
        )
