"""The interfaces of the two parts of a model that come in kinds: attention and positions.

Each kind is one file of model/attentions or model/positions (kinds.py); no other code names it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, TypeAlias

from palmetto.recipe.kinds import Kind

Array: TypeAlias = Any
"""A JAX array, or a NumPy array when masks are computed."""

Turn = Callable[[Array], Array]
"""(queries or keys [..., T, heads, Q]) → the array rotated by its tokens' positions."""


@dataclass(frozen=True)
class PairTurn:
    """Rotates the pairs (x[i], x[i + Q/2]) of each head by the angles of its token, as a `Turn`."""

    cosines: Array
    """The cosines of the angles, float32 [..., T, Q/2]."""
    sines: Array

    def __call__(self, x: Array) -> Array:
        """Returns x [..., T, heads, Q] rotated, in its type."""
        import jax.numpy as jnp

        cosines, sines = (array[..., None, :] for array in (self.cosines, self.sines))
        a, b = jnp.split(x.astype(jnp.float32), 2, axis=-1)
        return jnp.concatenate([a * cosines - b * sines, a * sines + b * cosines], axis=-1).astype(x.dtype)


class Sizes(Protocol):
    """Describes the sizes of a model on which its parts depend (recipe/model.py)."""

    layers: int
    d_model: int
    heads: int

    @property
    def query_size(self) -> int: ...


def facing(queries: Array, keys: Array) -> tuple[Array, Array]:
    """Returns the positions reshaped to broadcast against scores [B, K, rows, G, columns].

    Positions are queries [rows] and keys [columns], the same for every sequence, or [B, rows] and [B, columns].
    """
    if queries.ndim == 2:
        queries, keys = queries[:, None], keys[:, None]
    return queries[..., :, None, None], keys[..., None, None, :]


class Blocks(NamedTuple):
    """Holds the bounds of all pairs of query and key blocks, int64 that broadcasts to [query blocks, key blocks]."""

    first: Array
    """The first position of the block of queries."""
    last: Array
    """The last position of the block of queries."""
    first_key: Array
    """The first position of the block of keys."""
    last_key: Array
    """The last position of the block of keys."""

    @property
    def nearest(self) -> Array:
        """The smallest distance of a query from a key in its past."""
        import numpy as np

        return np.maximum(self.first - self.last_key, 0)

    @property
    def farthest(self) -> Array:
        """The largest distance; every distance between `nearest` and `farthest` occurs."""
        return self.last - self.first_key


class Band(NamedTuple):
    """Describes attention whose queries see their own position and the `window` − 1 positions before it."""

    window: int | None
    """The number of positions; None for all before the query."""


class Kept(NamedTuple):
    """Describes the positions that a cache must keep if it need not keep all."""

    first: int
    """The number of positions at the beginning of the sequence."""
    last: int
    """The number of positions before the next token."""


class Attention(Kind):
    """Decides which keys a query sees, and how; the defaults describe attention by plain scores in every layer."""

    folder = "palmetto.model.attentions"
    usual_name = "full"

    takes_prefix: ClassVar[bool] = False
    """True if the positions of a prefix may also see each other."""
    searches: ClassVar[bool] = False
    """True if queries select keys by their scores; `search` then replaces scores and softmax."""
    same_in_all_programs: ClassVar[bool] = True
    """True if programs for different meshes give the same bits."""

    def period(self, layers: int) -> int:
        """Returns the number of layers after which the kinds of attention repeat; it must divide `layers`."""
        return 1

    def of_layer(self, layer: int, layers: int) -> "Attention":
        """Returns the attention of a layer: this one in the last layer of each period, the usual one in the others."""
        period = self.period(layers)
        return self if layer % period == period - 1 else Attention.usual()

    def check(self, layers: int) -> None:
        """Raises UserError if a model with this number of layers cannot have this attention."""

    def suits(self, positions: "Positions") -> bool:
        """Returns whether this attention can be combined with these positions."""
        return True

    def sees(self, queries: Array, keys: Array) -> Array:
        """Returns whether a query sees a key in its past: bool, for integer positions that broadcast."""
        raise NotImplementedError

    def sees_blocks(self, blocks: Blocks) -> Array:
        """Returns for each pair of blocks whether a query may see a key in its past: bool, true if in doubt."""
        return blocks.farthest >= 0

    @property
    def band(self) -> Band | None:
        """The band of keys, if queries see nothing else; accelerators have kernels for it."""
        return None

    @property
    def farthest(self) -> int | None:
        """The distance at which distances are capped; None if they are not."""
        return None

    def seen_as(self, positions: Array) -> Array:
        """Returns the integers that replace `positions` in position embeddings, rotations and position terms."""
        return positions

    def search(
        self,
        q: Array,
        k: Array,
        v: Array,
        queries: Array,
        keys: Array,
        positions: "Positions",
        query_rows: int,
        together: Array | None = None,
    ) -> Array:
        """Returns the output of an attention that searches, in q's shape.

        q is [B, K, T, G, Q], k and v are [B, K, S, Q]. `queries` [T] and `keys` [S] are their positions, or [B, T] and
        [B, S] those of each sequence. The search processes `query_rows` queries at a time. `together`, bool that
        broadcasts against scores [B, K, T, G, S], says which keys are in the query's example; None if all are.
        """
        raise NotImplementedError

    @property
    def kept(self) -> Kept | None:
        """The positions that a cache must keep for a layer; None for all."""
        return None


class Positions(Kind):
    """Decides how positions enter the embedding, queries and keys, and scores; the defaults change nothing."""

    folder = "palmetto.model.positions"
    usual_name = "rotary"

    add_to_scores: ClassVar[bool] = False
    """True if positions add a term to the products of queries and keys."""
    in_a_row: ClassVar[bool] = False
    """True if scores are looked up by distance, so that positions must be consecutive and distances are limited."""
    without_end: ClassVar[bool] = False
    """True if only distances matter and they may be capped, so that a cache can stream with a fixed window."""
    turn_pairs: ClassVar[bool] = False
    """True if pairs of a head's elements are rotated; arranged kernels then separate them into halves."""
    axes_of_heads: ClassVar[Mapping[str, int]] = {}
    """The axis of the heads in each array that `for_scores` returns, by name."""

    def check(self, model: Sizes) -> None:
        """Raises UserError if a model of these sizes cannot have these positions."""

    def check_prefix(self, objective: str) -> None:
        """Raises UserError if a position cannot see later ones, as the prefix of an objective requires."""

    @property
    def end(self) -> int | None:
        """The length of the longest sequence; None for any length."""
        return None

    def of_model(self, model: Sizes) -> Mapping[str, Any]:
        """Returns the parameters outside the layers: name → model.weights.Weight."""
        return {}

    def of_layers(self, model: Sizes) -> Mapping[str, Any]:
        """Returns the parameters of every layer: name → model.weights.Weight."""
        return {}

    def embed(self, x: Array, ends: Mapping[str, Array], positions: Array) -> Array:
        """Returns the float32 token embeddings x [B, T, D] with the embeddings of positions, [T] or [B, T], added.

        `ends` contains the arrays of `of_model`, among others.
        """
        return x

    def turn(self, positions: Array, head_size: int) -> Turn | None:
        """Returns the function that rotates queries and keys at positions [..., T]; None if they are not rotated."""
        return None

    def for_scores(self, layer: Mapping[str, Array], model: Sizes, length: int) -> dict[str, Array]:
        """Returns the arrays from which scores of up to `length` positions are computed; it is differentiable."""
        return {}

    def query(self, q: Array, learned: Mapping[str, Array]) -> Array:
        """Returns the queries [B, K, rows, G, Q] that are multiplied with keys."""
        return q

    def score(
        self, q: Array, queries: Array, keys: Array, learned: Mapping[str, Array], heads: int, farthest: int | None
    ) -> Array:
        """Returns the term added to scores, float32 that broadcasts against [B, K, rows, G, columns].

        `queries` and `keys` are positions shaped by `facing`, `learned` holds the arrays of `for_scores` for the heads
        of q, and `heads` is the number of heads of the model. Distances beyond `farthest` count as `farthest`.
        """
        raise NotImplementedError
