"""Shares by weight, no document twice, and the same documents whatever the shards."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmetto.corpus import tables
from palmetto.corpus.engine import LocalEngine
from palmetto.corpus.extraction import document_id
from palmetto.corpus.mixture import REASON, Mixture, parts
from palmetto.corpus.stage import NOTES, View
from palmetto.errors import UserError

NAMES = st.sampled_from(["web", "books", "news", "code"])
AVAILABLE = st.dictionaries(NAMES, st.integers(1, 10**12), min_size=1)


@given(AVAILABLE, st.data())
def test_the_largest_budget_takes_one_source_whole_and_none_twice(
    available: dict[str, int], data: st.DataObject
) -> None:
    weights = {name: data.draw(st.floats(0.01, 100)) for name in available}
    wanted = parts(available, weights, None, "refuse")
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
    # Whoever is not taken whole has the same tokens for its weight, and no whole one would have more.
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
    """Documents of so many tokens by source; name and id say which."""
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
    """The names of the documents that stay, by source."""
    stage.prepare(documents, LocalEngine(1), folder)
    kept: dict[str, set[str]] = {}
    for shard in documents.shards:
        table = documents.read(shard)
        dropped = stage.note(table, shard, folder)["dropped"].to_pylist()
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
    tokens = {source: sum(sizes[source][int(name.rpartition("-")[2])] for name in names)
              for source, names in found[0].items()}  # fmt: skip
    assert tokens["web"] == sum(sizes["web"]), "the scarcest source is taken whole"
    assert tokens["books"] == pytest.approx(tokens["web"] / 3, abs=max(sizes["books"]) / 2)


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


def test_an_empty_source_is_named(tmp_path: Path) -> None:
    documents = view(tmp_path, {"web": [10] * 5}, 5)
    with pytest.raises(UserError, match=r"sources\.news: nothing of it is left"):
        taken(Mixture((("web", 1.0), ("news", 1.0)), None, "refuse"), documents, tmp_path / "notes")
