"""The parts of a model that come in kinds, attention and positions: what each kind decides.

A kind is one file of model/attentions or of model/positions (kinds.py): nothing else names it.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, TypeAlias

from palmetto.recipe.kinds import Kind

Array: TypeAlias = Any
"""An array of JAX, or of NumPy where masks are computed."""

Turn = Callable[[Array], Array]
"""Queries or keys [..., T, heads, Q] → the same array turned by its tokens' positions."""


class Sizes(Protocol):
    """The sizes of a model that its parts depend on (recipe/model.py)."""

    layers: int
    d_model: int
    heads: int

    @property
    def query_size(self) -> int: ...


def facing(queries: Array, keys: Array) -> tuple[Array, Array]:
    """Returns positions shaped to broadcast against scores [B, K, rows, G, columns].

    queries [rows] and keys [columns] are those of every sequence, [B, rows] and [B, columns] those of each.
    """
    if queries.ndim == 2:
        queries, keys = queries[:, None], keys[:, None]
    return queries[..., :, None, None], keys[..., None, None, :]


class Blocks(NamedTuple):
    """All pairs of a block of queries and a block of keys: int64 that broadcasts to [query blocks, key blocks]."""

    first: Array
    """The first position of the block of queries."""
    last: Array
    """Its last position."""
    first_key: Array
    last_key: Array

    @property
    def nearest(self) -> Array:
        """The least distance of a query from a key in its past."""
        import numpy as np

        return np.maximum(self.first - self.last_key, 0)

    @property
    def farthest(self) -> Array:
        """The greatest distance; every distance between the two occurs."""
        return self.last - self.first_key


class Band(NamedTuple):
    """An attention whose queries see the keys from `window` − 1 positions before them up to their own."""

    window: int | None
    """None: all keys before them."""


class Kept(NamedTuple):
    """The positions that a cache must keep, where it need not keep all."""

    first: int
    """So many at the beginning of the sequence."""
    last: int
    """So many before the next token."""


class Attention(Kind):
    """Which keys a query sees, and how. The defaults describe attention by plain scores in every layer."""

    folder = "palmetto.model.attentions"
    usual_name = "full"

    takes_prefix: ClassVar[bool] = False
    """Whether the positions of a prefix may see each other besides."""
    searches: ClassVar[bool] = False
    """Whether queries choose keys by their scores: then `search` replaces scores and softmax."""
    same_in_all_programs: ClassVar[bool] = True
    """Whether programs for different meshes give the same bits."""

    def period(self, layers: int) -> int:
        """Returns the number of layers after which their attentions repeat, a divisor of `layers`."""
        return 1

    def of_layer(self, layer: int, layers: int) -> "Attention":
        """Returns the attention of a layer: this one in the last layer of each period, else the usual one."""
        period = self.period(layers)
        return self if layer % period == period - 1 else Attention.usual()

    def check(self, layers: int) -> None:
        """Raises UserError where a model of so many layers cannot have this attention."""

    def suits(self, positions: "Positions") -> bool:
        """Returns whether this attention knows the distances that these positions ask for."""
        return True

    def sees(self, queries: Array, keys: Array) -> Array:
        """Returns which of the keys in its past a query sees: bool, for integer positions that broadcast."""
        raise NotImplementedError

    def sees_blocks(self, blocks: Blocks) -> Array:
        """Returns in which pairs of blocks a query may see a key in its past: bool, true where in doubt."""
        return blocks.farthest >= 0

    @property
    def band(self) -> Band | None:
        """The band of keys that queries see, if they see nothing else: what accelerators have kernels for."""
        return None

    @property
    def farthest(self) -> int | None:
        """The distance at which keys that lie farther away are seen; None: keys are seen where they are."""
        return None

    def seen_as(self, positions: Array) -> Array:
        """Returns the positions that the model's positions are told of: integers, as `positions` are."""
        return positions

    def search(
        self, q: Array, k: Array, v: Array, queries: Array, keys: Array, positions: "Positions", query_rows: int
    ) -> Array:
        """Returns the result of an attention that searches, in q's shape.

        q [B, K, T, G, Q], k and v [B, K, S, Q]; `queries` [T] and `keys` [S] are their positions, or [B, T] and [B, S]
        those of each sequence. `query_rows` queries are searched for at a time.
        """
        raise NotImplementedError

    @property
    def kept(self) -> Kept | None:
        """The positions that a cache must keep for a layer; None: all."""
        return None


class Positions(Kind):
    """What positions add to the embedding, to queries and keys, and to scores. The defaults add nothing."""

    folder = "palmetto.model.positions"
    usual_name = "rotary"

    add_to_scores: ClassVar[bool] = False
    """Whether scores are more than products of queries and keys."""
    in_a_row: ClassVar[bool] = False
    """Whether scores are looked up by distance, of which there is then a last one."""
    without_end: ClassVar[bool] = False
    """Whether nothing but distances counts, and any distance may be capped: a window can then be kept for ever."""
    turn_pairs: ClassVar[bool] = False
    """Whether the pairs of a head's queries and keys are turned, which come apart into halves while they are."""
    axes_of_heads: ClassVar[Mapping[str, int]] = {}
    """For each array that `for_scores` returns, the axis along which its heads lie."""

    def check(self, model: Sizes) -> None:
        """Raises UserError where a model of these sizes cannot have these positions."""

    def check_prefix(self, objective: str) -> None:
        """Raises UserError where positions of a prefix cannot see what lies ahead of them, as an objective asks."""

    @property
    def end(self) -> int | None:
        """The length of the longest sequence; None: any length."""
        return None

    def of_model(self, model: Sizes) -> Mapping[str, Any]:
        """Returns the parameters that the model has once: name → model.weights.Weight."""
        return {}

    def of_layers(self, model: Sizes) -> Mapping[str, Any]:
        """Returns the parameters that every layer has: name → model.weights.Weight."""
        return {}

    def embed(self, x: Array, ends: Mapping[str, Array], positions: Array) -> Array:
        """Returns rows of the embedding [B, T, D] in float32 with what positions, [T] or [B, T], add to them.

        `ends`: the arrays of `of_model` among others.
        """
        return x

    def turn(self, positions: Array, head_size: int) -> Turn | None:
        """Returns the function that turns queries and keys at positions [..., T]; None: they are not turned."""
        return None

    def for_scores(self, layer: Mapping[str, Array], model: Sizes, length: int) -> dict[str, Array]:
        """Returns the arrays that scores of up to `length` positions are computed from, differentiable."""
        return {}

    def query(self, q: Array, learned: Mapping[str, Array]) -> Array:
        """Returns the queries [B, K, rows, G, Q] that keys are multiplied with."""
        return q

    def score(
        self, q: Array, queries: Array, keys: Array, learned: Mapping[str, Array], heads: int, farthest: int | None
    ) -> Array:
        """Returns what is added to scores, float32 that broadcasts against [B, K, rows, G, columns].

        `queries` and `keys` are positions in the shape of `facing`, `learned` the arrays of `for_scores` for the heads
        of q, of which the model has `heads`. Distances beyond `farthest` count as `farthest`.
        """
        raise NotImplementedError
