"""Tests that the vocabulary's sample does not depend on the workers that draw it."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from palmetto.corpus import measuring
from palmetto.corpus.engine import LocalEngine, Result, Task
from tests.references.views import Backwards, make_view

SHARES = {"web": 0.75, "books": 0.25}


class Counting(Backwards):
    """An engine that counts its tasks."""

    tasks = 0

    def map(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        self.tasks += len(tasks)
        return super().map(function, tasks)


def test_workers_draw_the_sample_and_its_order_is_the_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = {f"{i:04}": ("web" if i % 3 else "books", f"text {i} " * 20) for i in range(600)}
    sizes = {name: sum(len(text.encode()) for source, text in documents.values() if source == name) for name in SHARES}
    monkeypatch.setattr(measuring, "SAMPLE_BYTES", 20_000)
    wanted = [
        text
        for name, (source, text) in documents.items()
        if measuring.draw(name, "vocabulary") < SHARES[source] * 20_000 / sizes[source]
    ]
    parts = [dict(list(documents.items())[start : start + 50]) for start in range(0, 600, 50)]
    whole, cut = make_view(tmp_path / "whole", [documents]), make_view(tmp_path / "cut", [*parts, {}])
    engine = Counting()
    assert list(measuring.sample(whole, sizes, SHARES, LocalEngine(1), tmp_path / "one")) == wanted
    assert list(measuring.sample(cut, sizes, SHARES, engine, tmp_path / "two")) == wanted
    assert engine.tasks == 13
    assert 0 < len(wanted) < 600
    # Texts that a killed process has drawn are kept.
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "two").rglob("*.parquet")}
    assert list(measuring.sample(cut, sizes, SHARES, engine, tmp_path / "two")) == wanted
    assert before == {path: path.stat().st_mtime_ns for path in before}
