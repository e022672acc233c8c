"""Sections that come in kinds, to which others may be added."""

from typing import Literal

import pytest
from pydantic import ValidationError

from palmetto.recipe.kinds import Kinds
from palmetto.recipe.section import Section


class Circle(Section):
    name: Literal["circle"] = "circle"
    radius: float = 1.0


class Square(Section):
    name: Literal["square"] = "square"
    side: float = 1.0


def test_a_value_becomes_the_kind_that_it_names() -> None:
    kinds: Kinds[Section] = Kinds(Circle, Square)
    assert kinds.choose({"name": "square", "side": 2.0}) == Square(side=2.0)
    assert kinds.choose(Circle()) == Circle()


def test_a_kind_is_known_once_registered() -> None:
    kinds: Kinds[Section] = Kinds(Circle)
    kinds.register(Square)
    assert list(kinds) == ["circle", "square"]
    assert kinds.choose({"name": "square"}) == Square()


def test_another_name_is_refused_with_those_there_are() -> None:
    kinds: Kinds[Section] = Kinds(Circle, Square)
    with pytest.raises(ValidationError, match="'circle', 'square'"):
        kinds.choose({"name": "triangle"})


def test_an_error_within_a_kind_names_kind_and_key() -> None:
    kinds: Kinds[Section] = Kinds(Circle, Square)
    with pytest.raises(ValidationError) as caught:
        kinds.choose({"name": "circle", "radius": "wide"})
    assert caught.value.errors()[0]["loc"] == ("circle", "radius")
