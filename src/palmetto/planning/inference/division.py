"""Works out which axes of the mesh divide each array of a model, for a layout and a batch."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from palmetto.errors import UserError
from palmetto.model.weights import Weight
from palmetto.planning.inference.layouts import EVERY, Axes, Layout, named
from palmetto.planning.inference.phases import Phase
from palmetto.planning.network.topology import Topology
from palmetto.recipe import Recipe
from palmetto.recipe.model import Model


class Division(NamedTuple):
    """Says which axes of the mesh divide which arrays."""

    layout: Layout
    sizes: Mapping[str, int]
    """The number of chips along each axis."""
    units: Mapping[str, Axes]
    """The axes that divide each logical axis of kernels but their width."""
    sequences: Axes
    """The axes that divide the sequences in attention and in the cache."""
    heads: Axes
    """The axes that divide the query heads in attention."""
    key_value_heads: Axes
    """The axes that divide the key/value heads in attention and in the cache."""

    def of(self, weight: Weight, gathered: Axes = "") -> tuple[Axes, ...]:
        """Returns the axes that divide each dimension of an arranged weight, without those along which it is gathered.

        Axes that would divide a kernel's heads, but not evenly, divide its width instead; those of a single head divide
        nothing. Vectors and embeddings of positions are whole everywhere.
        """
        if weight.axes == ("vocabulary", "features"):
            return self.embedding
        if weight.axes[0] != "width" or len(weight.axes) == 1:
            return ("",) * len(weight.axes)
        width, inner = self.layout.width, self.units[weight.axes[1]]
        width += without(self.layout.inner, inner) if inner else ""
        return without(width, gathered), without(inner, gathered)

    @property
    def embedding(self) -> tuple[Axes, Axes]:
        """The axes that divide the rows and columns of the embedding.

        Where sequences are divided, each chip has its part of all rows, or XLA would gather the whole.
        """
        return ("", EVERY) if self.layout.gathered else (self.layout.inner, self.layout.width)

    def parts(self, axes: Axes) -> int:
        """Returns the number of parts into which axes divide a dimension."""
        return math.prod(self.sizes[axis] for axis in axes)


def mesh_sizes(on: Topology) -> dict[str, int]:
    """Returns the number of chips along each axis of the mesh: the sides of a slice; that of a flat one has no z."""
    return dict(zip(EVERY, (*on.shape, 1)[: len(EVERY)], strict=True))


def divide(recipe: Recipe, on: Topology, phase: Phase, name: str) -> Division:
    """Returns the division of a layout. Raises UserError if there is none of this name, or if a dimension is not a
    multiple of its parts."""
    model, sizes, layout = recipe.model, mesh_sizes(on), named(name)
    kinds = model.heads if model.key_value_heads == 1 else model.key_value_heads
    free = without(layout.inner, layout.gathered)
    heads = _that_divide(free, kinds, sizes) if layout.attention == "heads" else ""
    rest = without(layout.every, layout.gathered + heads)
    of_a_chip = max(1, phase.batch // math.prod(sizes[axis] for axis in layout.gathered))
    sequences = rest if layout.attention == "batch" else _that_divide(rest, of_a_chip, sizes)
    division = Division(
        layout,
        sizes,
        units={
            "feedforward": layout.inner,
            "heads": _that_divide(layout.inner, model.heads, sizes),
            "key_value_heads": _that_divide(layout.inner, model.key_value_heads, sizes),
        },
        sequences=layout.gathered + sequences,
        heads=heads,
        key_value_heads=heads if model.key_value_heads > 1 else "",
    )
    _check_model(model, recipe.model_vocabulary, name, division)
    _check_batch(phase, name, division)
    return division


def without(axes: Axes, others: Axes) -> Axes:
    """Returns the axes that are not among others, in their order."""
    return "".join(axis for axis in axes if axis not in others)


def _that_divide(axes: Axes, count: int, sizes: Mapping[str, int]) -> Axes:
    """Returns the longest beginning of axes whose parts divide `count`."""
    fits = (axes[:n] for n in range(len(axes), -1, -1))
    return next(part for part in fits if count % math.prod(sizes[axis] for axis in part) == 0)


def _check_model(model: Model, vocabulary: int, name: str, division: Division) -> None:
    layout = division.layout
    dimensions = [("model.d_model", model.d_model, EVERY), ("model.d_ff", model.feedforward_size, layout.inner)]
    if not layout.gathered:
        dimensions.append(("the vocabulary", vocabulary, layout.inner))
    for what, size, axes in dimensions:
        if size % (parts := division.parts(axes)):
            raise UserError(
                f"{what}={size}: --layout {name} divides it by {parts}: {-(-size // parts) * parts} would do"
            )


def _check_batch(phase: Phase, name: str, division: Division) -> None:
    parts = division.parts(division.sequences)
    if phase.batch % parts:
        instead = f"{-(-phase.batch // parts) * parts} sequences would do, or --layout ws2d-heads"
        given = f"--{phase.name} {phase.batch}:{phase.length}"
        raise UserError(f"{given}: --layout {name} divides the sequences by {parts}: {instead}")
