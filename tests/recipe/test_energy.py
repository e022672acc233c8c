"""The section about energy, against what papers publish."""

import pytest

from palmetto.errors import UserError
from palmetto.recipe import loading
from palmetto.recipe.energy import Energy
from palmetto.recipe.recipe import flatten
from tests.conftest import RecipeMaker


def joules(chip_hours: float, watts: float) -> float:
    return chip_hours * 3600 * watts


def test_palm_540b_takes_what_the_paper_says() -> None:
    """6,144 chips for 1,200 hours and 3,072 for 336: 3,436 MWh and 271 t."""
    palm = loading.load("palm-540b").energy
    assert palm == Energy(watts=378.5, pue=1.08, intensity=0.079, source=palm.source)
    found = palm.footprint(joules(6144 * 1200 + 3072 * 336, 378.5))
    assert found.kwh / 1000 == pytest.approx(3436, abs=0.5)
    assert found.kg_co2e / 1000 == pytest.approx(271, abs=0.5)


def test_glam_takes_what_the_paper_says_by_a_fit() -> None:
    """574 hours on 1,024 chips: 213 MWh. 326 W and PUE 1.11 are fitted to it."""
    glam = loading.load("glam-64b-64e").energy
    assert (glam.watts, glam.pue) == (326, 1.11)
    assert glam.source is not None
    assert "fit" in glam.source
    assert glam.footprint(joules(574 * 1024, 326)).kwh / 1000 == pytest.approx(213, abs=0.5)


def test_energy_is_outside_the_identity(tiny_recipe: RecipeMaker) -> None:
    """Old runs have no such section, and resume."""
    recipe = tiny_recipe("energy={watts: 300, pue: 1.1, intensity: 0.1, source: a meter}")
    assert recipe.digest == tiny_recipe().digest
    assert {key for key in flatten(recipe.model_dump()) if key.startswith("energy.")} == {
        "energy.watts",
        "energy.pue",
        "energy.intensity",
        "energy.source",
    }
    assert not [key for key in recipe.identity if key.startswith("energy")]


@pytest.mark.parametrize(
    "given", ["watts: 0", "watts: .nan", "watts: 1e308", "pue: 0.9", "pue: .inf", "intensity: -1", 'source: "\\ud800"']
)
def test_absurd_figures_are_refused(given: str, tiny_recipe: RecipeMaker) -> None:
    with pytest.raises(UserError, match=f"energy.{given.partition(':')[0]}="):
        tiny_recipe(f"energy={{{given}}}")
