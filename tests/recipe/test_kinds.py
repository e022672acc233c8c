"""Sections that come in kinds, to which others may be added."""

import subprocess
import sys
from typing import Literal

import pytest
from pydantic import ValidationError

from palmetto.recipe.kinds import Kind


class Shape(Kind):
    folder = "palmetto.report"  # whose files are no kinds
    usual_name = "circle"


class Circle(Shape):
    name: Literal["circle"] = "circle"
    radius: float = 1.0


class Square(Shape):
    name: Literal["square"] = "square"
    side: float = 1.0


def test_a_value_becomes_the_kind_that_it_names() -> None:
    assert Shape.choose({"name": "square", "side": 2.0}) == Square(side=2.0)
    assert Shape.choose(Square()) == Square()


def test_a_value_without_a_name_becomes_the_usual_kind() -> None:
    assert Shape.choose({"radius": 2.0}) == Circle(radius=2.0)
    assert Shape.usual() == Circle()


def test_another_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValidationError, match="'circle', 'square'"):
        Shape.choose({"name": "triangle"})


def test_an_error_within_a_kind_names_kind_and_key() -> None:
    with pytest.raises(ValidationError) as caught:
        Shape.choose({"name": "circle", "radius": "wide"})
    assert caught.value.errors()[0]["loc"] == ("circle", "radius")


def test_reading_a_recipe_does_not_import_jax() -> None:
    code = "import sys; from palmetto.recipe import loading; loading.load('palm-1m'); assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
