"""External memory: a local window and the best-matching keys of the past, found by exact search (arXiv 2203.08913)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from palmetto.model.attentions.local import LocalAttention
from palmetto.recipe.parts import Array, Attention, Blocks, Positions, facing
from palmetto.recipe.section import PositiveInt32, impossible


class MemoryAttention(Attention):
    """Lets a position see a local window and, in one layer, the `neighbours` best-matching keys before the window.

    The search is exact. It follows arXiv 2203.08913, with one softmax over both in place of a learned gate.
    """

    name: Literal["memory"] = "memory"
    window: PositiveInt32
    layer: Annotated[int, Field(ge=0)]
    """The number of the layer with the memory."""
    neighbours: PositiveInt32 = 32

    searches: ClassVar[bool] = True
    same_in_all_programs: ClassVar[bool] = False

    def period(self, layers: int) -> int:
        return layers

    def of_layer(self, layer: int, layers: int) -> Attention:
        """Returns this attention in the layer with the memory, and local attention in the others."""
        return self if layer == self.layer else LocalAttention(window=self.window)

    def check(self, layers: int) -> None:
        if self.layer >= layers:
            raise impossible("model.attention.layer", self.layer, f"layers count from 0 to {layers - 1}")

    def suits(self, positions: Positions) -> bool:
        return not positions.add_to_scores

    def sees(self, queries: Array, keys: Array) -> Array:
        """Returns which keys the local window contains; `search` finds the others."""
        return queries - keys < self.window

    def sees_blocks(self, blocks: Blocks) -> Array:
        return blocks.nearest < self.window

    def search(
        self,
        q: Array,
        k: Array,
        v: Array,
        queries: Array,
        keys: Array,
        positions: Positions,
        query_rows: int,
        together: Array | None = None,
    ) -> Array:
        """Returns the attention output in q's shape, with one float32 softmax over the window and the memory.

        The memory is everything before the window. Each query selects its `neighbours` best keys from it, scored as if
        they were at distance `window`. The scores take memory for `query_rows` times S numbers per head.
        """
        import jax.numpy as jnp

        stored = k
        back = positions.turn(-facing(queries, keys)[1][..., 0, 0, :], q.shape[-1])
        if back is not None:  # the memory holds keys without rotation
            stored = back(k[..., None, :])[..., 0, :]
        outputs = []
        for start in range(0, q.shape[2], query_rows):
            rows = slice(start, start + query_rows)
            own = None if together is None else together[:, :, rows]
            outputs.append(self._rows(q[:, :, rows], k, stored, v, queries[..., rows], keys, positions, own))
        return jnp.concatenate(outputs, axis=2)

    def _rows(
        self,
        q: Array,
        k: Array,
        stored: Array,
        v: Array,
        queries: Array,
        keys: Array,
        positions: Positions,
        together: Array | None,
    ) -> Array:
        import jax
        import jax.numpy as jnp

        def dot(q: Array, k: Array) -> Array:
            return jnp.einsum("bkrgq,bksq->bkrgs", q, k, preferred_element_type=jnp.float32)

        rows, columns = facing(queries, keys)
        distances = rows - columns
        if together is not None:
            distances = jnp.where(together, distances, -1)
        near = jnp.where((distances >= 0) & (distances < self.window), dot(q, k), -jnp.inf)
        to_edge = positions.turn(self.window - rows[..., 0, 0], q.shape[-1])
        from_edge = q if to_edge is None else to_edge(q)
        past = jnp.where(distances >= self.window, dot(from_edge, stored), -jnp.inf)
        best, found = jax.lax.top_k(past, min(self.neighbours, k.shape[2]))
        weights = jax.nn.softmax(jnp.concatenate([near, best], axis=-1), axis=-1).astype(v.dtype)
        local, remembered = jnp.split(weights, [k.shape[2]], axis=-1)
        chosen = jnp.take_along_axis(v[:, :, None, None], found[..., None], axis=4)  # [B, K, rows, G, neighbours, Q]
        result = jnp.einsum("bkrgs,bksq->bkrgq", local, v, preferred_element_type=jnp.float32)
        result += jnp.einsum("bkrgn,bkrgnq->bkrgq", remembered, chosen, preferred_element_type=jnp.float32)
        return result.astype(q.dtype)
