"""What a late stage would miss is found before the first."""

from pathlib import Path

import pytest

from palmetto import corpora, recipes
from palmetto.errors import UserError

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
        (["corpus.build.quality.classifier=none.npz", "corpus.build.sources.web.quality=true"],
         r"none\.npz: no such file; `palmetto corpus quality train`"),
        (["corpus.build.sources.web.kind=code"], r"extra"),
    ],
)  # fmt: skip
def test_what_a_late_stage_would_miss_is_found_first(
    overrides: list[str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("web/a.txt", "evaluation/quiz.jsonl", "empty.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('{"question": "how many"}\n' if "quiz" in name else "")
    (tmp_path / "mix.yaml").write_text(RECIPE.format(root=tmp_path))
    if line == "extra":
        monkeypatch.setitem(__import__("sys").modules, "rapidfuzz.distance", None)
    with pytest.raises(UserError, match=line):
        corpora.build(recipes.load(str(tmp_path / "mix.yaml"), overrides), tmp_path / "out", lambda text: None)
    assert not (tmp_path / "out").exists()


def test_a_language_that_a_source_states_may_be_kept(tmp_path: Path) -> None:
    (tmp_path / "mix.yaml").write_text(RECIPE.format(root=tmp_path))
    overrides = ["corpus.build.languages=[en,ko]", "corpus.build.sources.web.language=ko"]
    loaded = recipes.load(str(tmp_path / "mix.yaml"), overrides)
    assert loaded.corpus.build is not None
    assert loaded.corpus.build.languages == ("en", "ko")
