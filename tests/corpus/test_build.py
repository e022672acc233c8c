"""Tests that problems of late stages are found before the first stage."""

from pathlib import Path

import pytest

from palmetto.corpus import build as stages
from palmetto.corpus.engine import LocalEngine
from palmetto.errors import UserError
from palmetto.recipe import loading
from palmetto.tokens.counting import Counter
from palmetto.workflow import corpus as corpora

RECIPE = """
corpus:
  build:
    root: {root}
    sources:
      web: {{paths: [web]}}
    contamination: {{evaluation: [evaluation]}}
tokens: {{vocabulary_size: 512, sequence_length: 32}}
model: {{layers: 1, d_model: 32, heads: 2}}
training: {{steps: 1, batch_size: 4}}
"""


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["corpus.build.contamination.evaluation=[evalation]"], r"evalation: no such evaluation set.*'evaluation'"),
        (["corpus.build.contamination.evaluation=[empty.jsonl]"], r"empty\.jsonl: no example in it"),
        (["corpus.build.languages=[en,kr,xx]"], r"corpus\.build\.languages=xx: no language; expected a code"),
        (["corpus.build.sources.web.language=eng"], r"sources\.web\.language=eng: no language"),
        (["corpus.build.filters.bad_words=none.txt"], r"filters\.bad_words: .*none\.txt: cannot be read"),
        (
            ["corpus.build.quality.classifier=none.npz", "corpus.build.sources.web.quality=true"],
            r"none\.npz: no such file; `palmetto corpus quality train`",
        ),
        (["corpus.build.sources.web.kind=code"], r"extra"),
    ],
)
def test_problems_of_late_stages_are_found_before_the_first(
    overrides: list[str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("web/a.txt", "evaluation/quiz.jsonl", "empty.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('{"question": "how many"}\n' if "quiz" in name else "")
    (tmp_path / "mix.yaml").write_text(RECIPE.format(root=tmp_path))
    if line == "extra":
        monkeypatch.setitem(__import__("sys").modules, "rapidfuzz.distance", None)
    with pytest.raises(UserError, match=line):
        corpora.build(loading.load(str(tmp_path / "mix.yaml"), overrides), tmp_path / "out", lambda text: None)
    assert not (tmp_path / "out").exists()


def test_a_language_that_a_source_states_may_be_kept(tmp_path: Path) -> None:
    (tmp_path / "mix.yaml").write_text(RECIPE.format(root=tmp_path))
    overrides = ["corpus.build.languages=[en,ko]", "corpus.build.sources.web.language=ko"]
    loaded = loading.load(str(tmp_path / "mix.yaml"), overrides)
    assert loaded.corpus.build is not None
    assert loaded.corpus.build.languages == ("en", "ko")


def test_a_vocabulary_too_small_is_reported_before_the_stages(tmp_path: Path) -> None:
    pytest.importorskip("rensa", reason="needs the extra `corpus`")
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "a.txt").write_text("".join(map(chr, range(0x4E00, 0x5100))))
    (tmp_path / "mix.yaml").write_text(RECIPE.format(root=tmp_path))
    said: list[str] = []
    build = loading.load(str(tmp_path / "mix.yaml"), ["corpus.build.contamination=null"]).corpus.build
    assert build is not None
    with pytest.raises(UserError), LocalEngine(1) as engine:
        stages.build(build, Counter("bpe", 512, 65536), tmp_path / "out", engine, said.append, lambda same, _: same)
    told = next(place for place, line in enumerate(said) if "vocabulary_size=512: likely too small" in line)
    assert "take 1029" in said[told]
    assert not any(line.startswith("language") for line in said[:told])
