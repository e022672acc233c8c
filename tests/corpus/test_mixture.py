"""Tests that the mixture has its shares, repeats no document, and does not depend on shards."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmetto.corpus import tables
from palmetto.corpus.engine import LocalEngine
from palmetto.corpus.mixture import LEAST, REASON, Mixture, limit, parts
from palmetto.corpus.reading.extraction import document_id
from palmetto.corpus.stage import NOTES, View
from palmetto.errors import UserError

NAMES = st.sampled_from(["web", "books", "news", "code"])
AVAILABLE = st.dictionaries(NAMES, st.integers(1, 10**12), min_size=1)


@given(AVAILABLE, st.data())
def test_the_largest_budget_takes_one_source_whole_and_none_twice(
    available: dict[str, int], data: st.DataObject
) -> None:
    weights = {name: data.draw(st.floats(0.01, 100)) for name in available}
    scarcest, largest = limit(available, weights)
    if largest < LEAST * sum(available.values()):
        with pytest.raises(UserError, match=rf"sources\.{scarcest}: limits the mixture.*mixture\.tokens={largest}\)"):
            parts(available, weights, None, "refuse")
    wanted = parts(available, weights, largest, "refuse")
    total, whole = sum(wanted.values()), sum(weights.values())
    assert all(wanted[name] <= available[name] for name in available)
    assert any(available[name] - wanted[name] <= 1 + 1e-9 * available[name] for name in available)
    for name, tokens in wanted.items():
        assert tokens / max(1, total) == pytest.approx(weights[name] / whole, abs=len(wanted) / max(1, total) + 1e-9)


@given(AVAILABLE, st.data())
def test_redistribution_fills_the_budget(available: dict[str, int], data: st.DataObject) -> None:
    weights = {name: data.draw(st.floats(0.01, 100)) for name in available}
    budget = data.draw(st.integers(1, sum(available.values())))
    wanted = parts(available, weights, budget, "redistribute")
    assert all(0 <= wanted[name] <= available[name] for name in available)
    assert budget - len(available) <= sum(wanted.values()) <= budget
    # Sources that are not taken whole have equal tokens per weight, and no whole one has more.
    rates = [wanted[name] / weights[name] for name in available if wanted[name] < available[name] - 1]
    full = [wanted[name] / weights[name] for name in available if wanted[name] >= available[name] - 1]
    if rates:
        assert max(rates) - min(rates) <= 1 / min(weights.values()) + 1e-6 * max(rates)
        assert all(rate <= max(rates) + 2 / min(weights.values()) + 1e-6 * max(rates) for rate in full)


def test_a_repeat_is_refused_with_the_largest_budget() -> None:
    with pytest.raises(
        UserError, match=r"tokens=1000: web would repeat: its part is 75.0%, and it has 300 .* 400 would do"
    ):
        parts({"web": 300, "news": 1000}, {"web": 3, "news": 1}, 1000, "refuse")
    assert parts({"web": 300, "news": 1000}, {"web": 3, "news": 1}, 400, "refuse") == {"web": 300, "news": 100}
    assert parts({"web": 300, "news": 1000}, {"web": 3, "news": 1}, 1000, "redistribute") == {"web": 300, "news": 700}
    with pytest.raises(UserError, match=r"tokens=1301: .* have 1,300 tokens; 1300 would do"):
        parts({"web": 300, "news": 1000}, {"web": 3, "news": 1}, 1301, "redistribute")


def view(folder: Path, sizes: dict[str, list[int]], per_shard: int) -> View:
    """Writes documents with the given numbers of tokens by source; name and id say which is which."""
    shards = []
    for source, tokens in sizes.items():
        for first in range(0, len(tokens), per_shard):
            of_shard = tokens[first : first + per_shard]
            names = [f"{source}-{first + place}" for place in range(len(of_shard))]
            ids = [document_id(source, name) for name in names]
            shard = f"{source}/{first:06}"
            columns = [ids, [source] * len(ids), names, names, *([[None] * len(ids)] * 3)]
            tables.write(folder / "texts" / f"{shard}.parquet", pa.table(columns, schema=tables.DOCUMENTS))
            counted = pa.table({"dropped": pa.nulls(len(ids), pa.string()), "tokens": pa.array(of_shard, pa.int64())})
            tables.write(folder / "tokens" / NOTES / f"{shard}.parquet", counted)
            shards.append(shard)
    return View(folder / "texts", tuple(shards), (folder / "tokens",))


def taken(stage: Mixture, documents: View, folder: Path) -> dict[str, set[str]]:
    """Returns the names of the documents that stay, by source."""
    stage.prepare(documents, LocalEngine(1), folder)
    kept: dict[str, set[str]] = {}
    for shard in documents.shards:
        table = documents.read(shard)
        dropped = stage.annotate(table, shard, folder)["dropped"].to_pylist()
        assert set(dropped) <= {None, REASON}
        names = [name for name, why in zip(table["name"].to_pylist(), dropped, strict=True) if why is None]
        kept.setdefault(shard.partition("/")[0], set()).update(names)
    return kept


def test_shares_come_out_and_do_not_depend_on_shards(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    sizes = {"web": random.integers(1, 500, 3000).tolist(), "books": random.integers(1000, 90000, 40).tolist()}
    stage = Mixture((("web", 3.0), ("books", 1.0)), None, "refuse")
    found = [taken(stage, view(tmp_path / str(n), sizes, n), tmp_path / f"notes{n}") for n in (7, 3000)]
    assert found[0] == found[1]
    tokens = {
        source: sum(sizes[source][int(name.rpartition("-")[2])] for name in names) for source, names in found[0].items()
    }
    assert tokens["web"] == sum(sizes["web"]), "the scarcest source is taken whole"
    assert tokens["web"] / 3 - max(sizes["books"]) / 2 < tokens["books"] <= tokens["web"] / 3


def test_more_budget_only_adds(tmp_path: Path) -> None:
    sizes = {"web": [10] * 500}
    documents = view(tmp_path, sizes, 100)
    small, large = (
        taken(Mixture((("web", 1.0),), budget, "refuse"), documents, tmp_path / str(budget))["web"]
        for budget in (1000, 2000)
    )
    assert len(small) == 100
    assert len(large) == 200
    assert small < large


def by_rank(sizes: list[int]) -> list[int]:
    """Returns the places of the documents of a source `web` in the order in which they are taken."""
    return sorted(range(len(sizes)), key=lambda place: document_id("web", f"web-{place}"))


@given(st.lists(st.integers(1, 100), min_size=1, max_size=60), st.integers(1, 3000), st.integers(1, 7))
@settings(max_examples=30, deadline=None)
def test_every_document_that_still_fits_is_taken(sizes: list[int], budget: int, per_shard: int) -> None:
    budget = min(budget, sum(sizes))
    wanted, left = set(), budget
    for place in by_rank(sizes):
        if sizes[place] <= left:
            wanted.add(f"web-{place}")
            left -= sizes[place]
    with tempfile.TemporaryDirectory() as name:
        documents = view(Path(name), {"web": sizes}, per_shard)
        kept = taken(Mixture((("web", 1.0),), budget, "refuse"), documents, Path(name) / "notes")
    assert kept["web"] == wanted


def test_only_so_many_are_looked_at_for_one_that_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("palmetto.corpus.mixture._LOOK", 5)
    sizes = [10] * 200
    order = by_rank(sizes)
    sizes[order[100]], sizes[order[103]], sizes[order[190]] = 7, 5, 5
    documents = view(tmp_path, {"web": sizes}, 50)
    kept = taken(Mixture((("web", 1.0),), 1005, "refuse"), documents, tmp_path / "notes")["web"]
    assert kept == {f"web-{place}" for place in (*order[:100], order[103])}


def test_a_collapse_names_its_source_and_what_would_do(tmp_path: Path) -> None:
    available, weights = {"web": 3_500_000, "code": 47}, {"web": 1.0, "code": 1.0}
    with pytest.raises(UserError, match=r"sources\.code: limits the mixture to 94 of the 3,500,047") as no:
        parts(available, weights, None, "refuse")
    assert "corpus.build.mixture.tokens=94" in str(no.value)
    assert parts(available, weights, 94, "refuse") == {"web": 47, "code": 47}
    assert parts(available, weights, None, "redistribute") == available
    documents = view(tmp_path, {"web": [10] * 30, "code": [10]}, 10)
    taken(Mixture((("web", 9.0), ("code", 1.0)), None, "refuse"), documents, tmp_path / "notes")
    assert json.loads((tmp_path / "notes" / "parts.json").read_text())["limited_by"] == "code"
    taken(Mixture((("web", 3.0), ("code", 0.1)), None, "refuse"), documents, tmp_path / "all")
    assert json.loads((tmp_path / "all" / "parts.json").read_text())["limited_by"] is None


def test_an_empty_source_is_named(tmp_path: Path) -> None:
    documents = view(tmp_path, {"web": [10] * 5}, 5)
    with pytest.raises(UserError, match=r"sources\.news: nothing of it is left"):
        taken(Mixture((("web", 1.0), ("news", 1.0)), None, "refuse"), documents, tmp_path / "notes")
