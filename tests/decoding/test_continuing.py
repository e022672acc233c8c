"""Texts are continued many at a time, each as if it were alone."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from palmetto.decoding.continuing import Continuing, Wish
from palmetto.decoding.drafts import Draft
from palmetto.decoding.engine import Engine
from palmetto.decoding.grammar import Grammars
from palmetto.decoding.limits import Limits
from palmetto.decoding.sampling import Sampling
from palmetto.decoding.trained import TrainedModel
from tests.conftest import RecipeMaker
from tests.references.constraints import Ends, Free, Panics
from tests.references.drawn_runs import make_run

PROMPTS = ["def f(", "", "import os\n", "é🙂", "def f("]


@pytest.fixture(scope="module")
def trained(tiny_recipe: RecipeMaker, tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    return TrainedModel(make_run(tmp_path_factory.mktemp("continued") / "tiny", tiny_recipe))


@pytest.fixture(scope="module")
def continuing(trained: TrainedModel) -> Continuing:
    return Continuing(trained, lambda text: None)


def test_prompts_are_answered_in_order_as_alone(continuing: Continuing) -> None:
    wish = Wish(8, Sampling(1.0), seed=4, choices=2, top=2)
    together = list(continuing.run(PROMPTS, wish))
    assert together == [continued for prompt in PROMPTS for continued in continuing.run([prompt], wish)]
    assert together[0] == together[4]
    first, second = together[0]
    assert first.tokens != second.tokens


def test_a_longer_text_changes_no_bits_of_others(
    tiny_recipe: RecipeMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole tables are read where earlier positions are searched, and sums over longer ones are rounded otherwise."""
    memory = "model.attention={name: memory, window: 8, layer: 1, neighbours: 2}"
    continuing = Continuing(TrainedModel(make_run(tmp_path / "memory", tiny_recipe, memory)), lambda text: None)
    texts, wish = ["x = 1\n" * 200, "def f(", "y = 2\n" * 200], Wish(8, Sampling())
    alone = [continued for text in texts for continued in continuing.run([text], wish)]
    make, longest = TrainedModel.engine, list[int]()

    def noted(trained: TrainedModel, limits: Limits, draft: Draft | None = None) -> Engine:
        longest.append(limits.longest)
        return make(trained, limits, draft)

    monkeypatch.setattr(TrainedModel, "engine", noted)
    assert list(continuing.run(texts, wish)) == alone
    assert longest == [256, 1024]


def test_what_is_heard_is_the_text(continuing: Continuing, trained: TrainedModel) -> None:
    heard = list[str]()
    [[continued]] = continuing.run(["def "], Wish(20, Sampling(1.0), seed=1), heard.append)
    assert "".join(heard) == continued.text
    assert len([text for text in heard if text]) > 5, "it comes in pieces"
    ids = [token.id for token in continued.tokens if token.id != trained.vocabulary.eod]
    assert continued.text.encode("utf-8", "surrogateescape") == trained.vocabulary.decode_bytes(ids)


def test_a_stop_string_frees_its_place(continuing: Continuing) -> None:
    [[free]] = continuing.run(["def "], Wish(20, Sampling(1.0), seed=1))
    stop = free.text[4:6]
    [[stopped]] = continuing.run(["def "], Wish(20, Sampling(1.0), seed=1, stops=(stop,)))
    assert stopped.text == free.text[: free.text.index(stop)]
    assert stopped.tokens == free.tokens[: len(stopped.tokens)]
    [[again]] = continuing.run(["def "], Wish(20, Sampling(1.0), seed=1))
    assert again == free


def test_a_grammar_holds_for_every_choice(continuing: Continuing, trained: TrainedModel) -> None:
    constraint = Grammars(trained.vocabulary, continuing.pieces).regex("[a-c]{2,4}")
    wish = Wish(20, Sampling(1.0), seed=1, choices=4, constraint=constraint)
    [continued] = continuing.run(["def "], wish)
    assert all(re.fullmatch("[a-c]{2,4}", one.text) for one in continued)


def test_what_cannot_be_met_ends_its_choice_alone(continuing: Continuing) -> None:
    wish = Wish(9, Sampling(1.0), seed=1, choices=3, constraint=Free)
    [free] = continuing.run(["def "], wish)
    made = iter([Ends, Free, Panics])
    [[ends, other, panics]] = continuing.run(["def "], replace(wish, constraint=lambda: next(made)()))
    assert other == free[1]
    assert (ends.finish, ends.tokens) == ("dead_end", free[0].tokens[:2])
    assert (panics.finish, panics.tokens) == ("format_failed", free[2].tokens[:1])


def test_a_text_longer_than_those_of_training_is_noticed(trained: TrainedModel) -> None:
    said = list[str]()
    list(Continuing(trained, said.append).run(["x"], Wish(40, Sampling())))
    assert [text for text in said if "beyond the 16 that the model was trained on" in text]
