"""One decoder layer: attention and feed-forward, in parallel or one after the other, with their norms."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from palmetto.model.experts.mixture import mixture
from palmetto.model.experts.router import Routing
from palmetto.model.feedforward import activate
from palmetto.model.layout import Layer
from palmetto.model.norms import NORMS, normalize
from palmetto.model.products import by_native, project, project_back
from palmetto.model.tuning import Tuning
from palmetto.model.weights import ATTENTION_INPUTS, FEEDFORWARD_INPUTS
from palmetto.native.pointwise import turn_apart
from palmetto.recipe.mesh import ONE_DEVICE, Mesh
from palmetto.recipe.model import Model
from palmetto.recipe.parts import PairTurn, Turn

Attend = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
"""(q [B, T, H, Q], k [B, T, K, Q], v [B, T, K, Q]) → [B, T, H, Q]; q is scaled, q and k are rotated."""
Drop = Callable[..., jax.Array]
"""(what part 0 or 1 of the layer adds to its input, part=) → the same with dropout."""


def keep(y: jax.Array, *, part: int) -> jax.Array:
    """Returns y, as a `Drop` without dropout."""
    return y


def block(
    layer: Layer,
    x: jax.Array,
    turn: Turn | None,
    model: Model,
    attend: Attend,
    tuning: Tuning,
    mesh: Mesh = ONE_DEVICE,
    drop: Drop = keep,
) -> tuple[jax.Array, Routing | None]:
    """Returns the layer's output [B, T, D] for its input x and, for a layer with experts, the router's statistics.

    `turn` rotates queries and keys by their positions; it is None for positions that do not rotate. `drop` applies
    dropout.
    """
    if model.block == "parallel":
        h = _pre_norm(layer, "norm", x, model, tuning)
        heads, inner = _split(_project(h, layer, tuning, *ATTENTION_INPUTS, *FEEDFORWARD_INPUTS), layer)
        attended = _post_norm(layer, "norm_after", _attention(layer, heads, turn, model, attend, tuning), model, tuning)
        fed, routing = _feedforward(layer, h, inner, model, tuning, mesh)
        added = drop(_post_norm(layer, "feedforward_norm_after", fed, model, tuning) + attended, part=0)
        return _add_residual(layer, "norm", x, added, model, tuning), routing
    heads, _ = _split(_project(_pre_norm(layer, "norm", x, model, tuning), layer, tuning, *ATTENTION_INPUTS), layer)
    attended = _post_norm(layer, "norm_after", _attention(layer, heads, turn, model, attend, tuning), model, tuning)
    x = _add_residual(layer, "norm", x, drop(attended, part=0), model, tuning)
    h = _pre_norm(layer, "feedforward_norm", x, model, tuning)
    fed, routing = _feedforward(layer, h, _project(h, layer, tuning, *FEEDFORWARD_INPUTS), model, tuning, mesh)
    added = drop(_post_norm(layer, "feedforward_norm_after", fed, model, tuning), part=1)
    return _add_residual(layer, "feedforward_norm", x, added, model, tuning), routing


def _split(projected: list[jax.Array], layer: Layer) -> tuple[list[jax.Array], list[jax.Array]]:
    """Splits the projections into attention's (one fused array, or q, k and v) and the feed-forward's."""
    count = sum(name in layer for name in ATTENTION_INPUTS)
    return projected[:count], projected[count:]


def _pre_norm(layer: Layer, norm: str, x: jax.Array, model: Model, tuning: Tuning) -> jax.Array:
    """Returns the input of attention or feed-forward: x, normalized if the norm comes before them."""
    if model.norm_position in ("post", "deep"):
        return x
    return normalize(NORMS[model.norm], x, layer, norm, native=tuning.native)


def _post_norm(layer: Layer, norm: str, y: jax.Array, model: Model, tuning: Tuning) -> jax.Array:
    """Returns y, normalized a second time if the layer is a sandwich."""
    if model.norm_position != "sandwich":
        return y
    return normalize(NORMS[model.norm], y, layer, norm, native=tuning.native)


def _add_residual(layer: Layer, norm: str, x: jax.Array, y: jax.Array, model: Model, tuning: Tuning) -> jax.Array:
    """Returns the residual sum, normalized if the norm comes after it; DeepNorm scales x by α = (2L)^¼."""
    if model.norm_position in ("pre", "sandwich"):
        return x + y
    alpha = (2 * model.layers) ** 0.25 if model.norm_position == "deep" else 1.0
    return normalize(NORMS[model.norm], alpha * x + y, layer, norm, native=tuning.native)


def _project(h: jax.Array, layer: Layer, tuning: Tuning, *names: str) -> list[jax.Array]:
    """Returns the projections of h, biases included, by those of the named kernels that the layer has."""
    names = tuple(name for name in names if name in layer)
    if not names:
        return []
    projected = checkpoint_name(project(h, tuple(layer[name] for name in names), tuning.native), "projections")
    return [_add_bias(y, layer, name) for y, name in zip(projected, names, strict=True)]


def _add_bias(y: jax.Array, layer: Layer, name: str) -> jax.Array:
    bias = layer.get(f"{name}_bias")
    return y if bias is None else y + bias.astype(y.dtype)


def _attention(
    layer: Layer, heads: list[jax.Array], turn: Turn | None, model: Model, attend: Attend, tuning: Tuning
) -> jax.Array:
    """Returns attention's contribution [B, T, D]; `heads` is one fused array [B, T, (H + 2K)·Q], or q, k and v."""
    H, K = model.heads, model.key_value_heads
    apart = [part.reshape(*part.shape[:2], -1, model.query_size) for part in heads]
    if len(apart) == 1 and isinstance(turn, PairTurn) and not model.qk_norm and by_native(apart[0], tuning.native):
        q, k, v = turn_apart(apart[0], (turn.cosines, turn.sines), H)
    else:
        q, k, v = apart if len(apart) == 3 else jnp.split(apart[0], [H, H + K], axis=2)
        if model.qk_norm:
            norm = partial(normalize, NORMS[model.norm], native=tuning.native)
            q, k = norm(q, layer, "q_norm"), norm(k, layer, "k_norm")
        if turn is not None:
            q, k = turn(q), turn(k)
    attended = attend(q, k, v).reshape(*q.shape[:2], -1)
    return _add_bias(project_back(attended, layer["o"], tuning.native), layer, "o")


def _feedforward(
    layer: Layer, h: jax.Array, inner: list[jax.Array], model: Model, tuning: Tuning, mesh: Mesh
) -> tuple[jax.Array, Routing | None]:
    """Returns the feed-forward's contribution [B, T, D]: from its projections `inner`, or by experts if it has none."""
    if not inner:
        assert model.experts is not None
        name = model.expert_feedforward
        return mixture(h, layer, model.experts, lambda up, gate: activate(name, up, gate), tuning=tuning, mesh=mesh)
    activated = activate(model.feedforward, *inner, native=tuning.native)
    return _add_bias(project_back(activated, layer["down"], tuning.native), layer, "down"), None
