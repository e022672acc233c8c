"""The layouts of Pope et al. (arXiv 2211.05102, section 3): how chips divide weights, activations and the cache.

A layout is an entry of `LAYOUTS`. The chips form a mesh with the axes x, y and z, the sides of the slice.
"""

from typing import Literal, NamedTuple

from palmetto.errors import UserError, nearest

Axes = str
"""Axes of the mesh, a letter each, the first the outermost: an array's dimension is divided by all of them."""

EVERY: Axes = "xyz"
"""The axes of the mesh, in the order of the sides of a slice."""


class Layout(NamedTuple):
    """Says which axes of the mesh divide what."""

    title: str
    width: Axes
    """The axes that divide the width of weights and, between layers, of activations."""
    inner: Axes
    """The axes that divide the feed-forward units and heads of weights."""
    gathered: Axes
    """The axes along which the weights of a layer are gathered before its products; these divide the sequences."""
    attention: Literal["heads", "batch"]
    """The quantity that chips divide in attention and in the cache: heads, or sequences."""

    @property
    def every(self) -> Axes:
        """All axes, those of the width first."""
        return self.width + self.inner


LAYOUTS: dict[str, Layout] = {
    "ws1d-heads": Layout("weight-stationary 1D, attention by heads", "", "yzx", "", "heads"),
    "ws1d-batch": Layout("weight-stationary 1D, attention by batch", "", "yzx", "", "batch"),
    "ws2d-heads": Layout("weight-stationary 2D, attention by heads", "x", "yz", "", "heads"),
    "ws2d-batch": Layout("weight-stationary 2D, attention by batch", "x", "yz", "", "batch"),
    "wgx-heads": Layout("weight-gathered X, attention by heads", "x", "yz", "x", "heads"),
    "wgx-batch": Layout("weight-gathered X, attention by batch", "x", "yz", "x", "batch"),
    "wgxy-heads": Layout("weight-gathered XY, attention by heads", "x", "yz", "xy", "heads"),
    "wgxy-batch": Layout("weight-gathered XY, attention by batch", "x", "yz", "xy", "batch"),
    "wgxyz-batch": Layout("weight-gathered XYZ, attention by batch", "x", "yz", "xyz", "batch"),
}
"""The layouts by the names that --layout takes."""


def named(name: str) -> Layout:
    """Returns a layout. Raises UserError, with all names, if there is none of this name."""
    if name not in LAYOUTS:
        raise UserError(f"--layout {name}: no such layout{nearest(name, LAYOUTS)}; there are {', '.join(LAYOUTS)}")
    return LAYOUTS[name]
