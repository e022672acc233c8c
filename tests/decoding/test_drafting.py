"""Trained models with guesses from smaller runs, or from the text itself."""

from pathlib import Path

import pytest

from palmetto.decoding.continuing import Continuing, Wish
from palmetto.decoding.drafting import Drafting
from palmetto.decoding.limits import Limits
from palmetto.decoding.sampling import Sampling
from palmetto.decoding.trained import TrainedModel
from palmetto.errors import UserError
from palmetto.runs.directory import RunDirectory
from palmetto.tokens.vocabulary import Vocabulary
from tests.conftest import RecipeMaker
from tests.references.drawn_runs import make_run


@pytest.fixture(scope="module")
def run(tiny_recipe: RecipeMaker, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return make_run(tmp_path_factory.mktemp("runs") / "large", tiny_recipe)


@pytest.fixture(scope="module")
def smaller(tiny_recipe: RecipeMaker, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return make_run(tmp_path_factory.mktemp("runs") / "small", tiny_recipe, "model.positions={name: alibi}")


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_guesses_leave_the_text_as_it_is(run: RunDirectory, smaller: RunDirectory, temperature: float) -> None:
    trained, wish = TrainedModel(run), Wish(12, Sampling(temperature), seed=3, choices=2)
    texts = []
    for drafting in (None, Drafting(lookup=True), Drafting(run), Drafting(smaller)):
        continuing = Continuing(trained, print, drafting)
        texts.append(list(continuing.run(["def f(", "import "], wish)))
        assert (engine := continuing._engine) is not None
        assert bool(engine.figures().accepted) >= (drafting is not None and drafting._run is run)
    assert texts == [texts[0]] * 4


def test_another_vocabulary_cannot_guess(run: RunDirectory, smaller: RunDirectory) -> None:
    trained = TrainedModel(run)
    trained.vocabulary = Vocabulary.train(["some other text, with more letters than before"] * 3, 290, "bpe")
    with pytest.raises(UserError, match=r"^--draft .*small: another vocabulary than the model's"):
        Drafting(smaller).draft(trained, Limits(rows=8, sequences=8, longest=160))


@pytest.mark.parametrize("objective", ["spans", "mixture"])
def test_a_draft_without_an_objectives_tokens_is_refused(
    run: RunDirectory, tiny_recipe: RecipeMaker, tmp_path: Path, objective: str
) -> None:
    """Each prompt has such tokens, which the draft would refuse in the middle of a step."""
    spans = make_run(tmp_path / "spans", tiny_recipe, f"training.objective={{name: {objective}}}")
    limits = Limits(rows=8, sequences=8, longest=160)
    message = rf"^--draft .*large: does not know all tokens that the model's objective {objective} adds; expected"
    with pytest.raises(UserError, match=message):
        Drafting(run).draft(TrainedModel(spans), limits)
    wish = Wish(12, Sampling(), seed=3)
    [alone] = Continuing(TrainedModel(spans), print).run(["def f("], wish)
    [guessed] = Continuing(TrainedModel(spans), print, Drafting(spans)).run(["def f("], wish)
    assert guessed == alone


def test_a_drafts_cache_may_be_larger_than_the_models(
    run: RunDirectory, tiny_recipe: RecipeMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Limits, "memory", 1)  # so that the cache is no larger than a sequence needs
    narrow = make_run(tmp_path / "narrow", tiny_recipe, "model.activations=bfloat16")
    continuing = Continuing(TrainedModel(narrow), print, Drafting(run))  # whose keys and values are float32
    [[continued]] = continuing.run(["def f("], Wish(4, Sampling(), seed=3))
    assert continued.tokens


def test_there_is_one_way_to_guess(smaller: RunDirectory) -> None:
    with pytest.raises(UserError, match=r"^--draft, --lookup: give one of them"):
        Drafting(smaller, lookup=True)


def test_no_guesses_are_the_default(run: RunDirectory, tmp_path: Path) -> None:
    assert Drafting().draft(TrainedModel(run), Limits()) is None
