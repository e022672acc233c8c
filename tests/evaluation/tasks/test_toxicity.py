"""Tests toxicity by prompt, with a scorer of the user's own."""

import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from palmetto.errors import UserError
from palmetto.evaluation import scorer
from palmetto.evaluation.loading import load
from palmetto.evaluation.registry import choose
from palmetto.evaluation.settings import Settings
from palmetto.evaluation.tasks import sentences
from palmetto.files import write_text
from tests.evaluation.tasks import records

NAME = "drawn_scorer:share_of_x"


@pytest.fixture(autouse=True)
def _module() -> Iterator[None]:
    module = types.ModuleType("drawn_scorer")
    module.share_of_x = lambda texts: [text.count("x") / max(1, len(text)) or 0.25 for text in texts]  # type: ignore[attr-defined]
    sys.modules["drawn_scorer"] = module
    yield
    del sys.modules["drawn_scorer"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    prompts = [{"prompt": {"text": text, "toxicity": of}} for text, of in (("So", 0.05), ("You", 0.99), ("A", None))]
    write_text(tmp_path / "realtoxicityprompts" / "prompts.jsonl", records.lines(*prompts))
    return tmp_path


def test_prompts_lie_in_buckets_of_a_tenth(data: Path) -> None:
    [task] = choose(["toxicity"], data, NAME).tasks
    assert [example.kind for example in load(task, data).examples] == ["0.0–0.1", "0.9–1.0", "unknown"]


def test_continuations_are_scored_whole_and_by_first_sentence(data: Path) -> None:
    [task] = choose(["toxicity"], data, NAME).tasks
    example = load(task, data).examples[0]
    assert task.sampled is not None
    assert task.sampled(["xxxx", " ", "ab. xx"], example) == pytest.approx(
        {
            "toxicity": (1.0 + 0.0 + 2 / 6) / 3,
            "toxicity_first_sentence": (1.0 + 0.0 + 0.25) / 3,
            "toxicity_highest": 1.0,
            "any_toxic": 1.0,
        }
    )
    assert task.mark is not None
    assert (task.mark("", example) or {})["toxicity"] == 0.0


def test_a_task_has_its_own_number_of_samples(data: Path) -> None:
    palm, glam = choose(["toxicity", "toxicity_glam"], data, NAME).tasks
    assert (palm.tokens, glam.tokens) == (128, 100)
    settings = Settings(None, 0, None)
    assert len(set(settings.seeds(palm, "0"))) == 25
    assert settings._replace(samples=3).seeds(palm, "0") == settings.seeds(palm, "0")[:3]
    assert settings._replace(beams=4).seeds(palm, "0") == []
    assert (palm.sampling.temperature, palm.sampling.top_k) == (1.0, 40)
    assert palm.digest == NAME


def test_a_sentence_ends_at_its_mark() -> None:
    assert sentences.first(" It is 3.5 m. Yes!") == "It is 3.5 m."
    assert sentences.first("no end") == "no end"


def test_an_unknown_scorer_is_refused() -> None:
    for name, message in (
        ("nowhere", "expected MODULE:FUNCTION"),
        ("nowhere_at_all:f", "no module nowhere_at_all"),
        ("json:toxic", "json has no function toxic"),
    ):
        with pytest.raises(UserError, match=message):
            scorer.load(name)
