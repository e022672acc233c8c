"""Parts that come in kinds are found in their folders and read without JAX."""

import subprocess
import sys
from pathlib import Path

from palmetto.recipe.parts import Attention, Positions

ROOT = Path(__file__).parents[2]


def test_every_file_of_a_folder_defines_its_kind() -> None:
    for part in (Attention, Positions):
        for name, kind in part.kinds().items():
            if kind.__module__.startswith(part.folder):
                assert kind.__module__ == f"{part.folder}.{name}"


def in_a_process(code: str) -> str:
    """Returns what `code` prints in a process of its own, which keeps the kinds that it defines."""
    return subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT).strip()


def test_a_recipe_is_read_without_jax() -> None:
    """XLA reads its flags when JAX is imported, and the recipe decides them."""
    kinds = "from palmetto.recipe.parts import Attention, Positions; Attention.kinds(), Positions.kinds()"
    assert in_a_process(f"import sys; {kinds}; print('jax' in sys.modules)") == "False"


def test_a_kind_defined_anywhere_can_be_chosen_by_name() -> None:
    code = (
        "import tests.references.toy_positions; from palmetto.recipe.model import Model; "
        "print(Model(layers=1, d_model=8, heads=1, positions={'name': 'toy'}).model_dump()['positions'])"
    )
    assert in_a_process(code) == "{'name': 'toy', 'period': 3}"


def test_values_without_a_name_are_of_the_usual_kind() -> None:
    assert Positions.choose({"base": 100.0}).name == "rotary"
    assert Attention.choose({}).name == "full"
