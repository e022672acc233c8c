"""The section of a recipe about energy: what a chip draws, what its building adds, and what a kWh emits."""

from typing import Annotated, NamedTuple

from pydantic import Field

from palmetto.recipe.section import Coefficient, Rate, Section

JOULES_PER_KWH = 3.6e6


class Footprint(NamedTuple):
    """Holds the energy that a building takes from the grid, and what its generation emits."""

    kwh: float
    kg_co2e: float


class Energy(Section):
    """Sets the figures that energy is counted by; `source` says where they come from. No bits depend on them."""

    watts: Annotated[Rate, Field(le=1e6)] | None = None
    """The mean power of a chip with its share of its host; by default a published figure of the chip."""
    pue: Annotated[float, Field(ge=1, le=100)] = 1.0
    """The power usage effectiveness: what the building takes over what its machines take; 1 is a machine on a desk."""
    intensity: Annotated[Coefficient, Field(le=100)] = 0.475
    """The kg of CO2e that a kWh emits; by default the world's average (IEA, Global Energy & CO2 Status Report 2019)."""
    source: Annotated[str, Field(min_length=1)] | None = None

    def footprint(self, joules: float) -> Footprint:
        """Returns what `joules` at the machines amount to: kWh = J / 3.6e6 · PUE, kg CO2e = kWh · intensity."""
        kwh = joules / JOULES_PER_KWH * self.pue
        return Footprint(kwh, kwh * self.intensity)
