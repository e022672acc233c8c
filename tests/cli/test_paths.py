"""Paths from the command line and from recipes: a leading ~ is the home directory, and an empty path is refused."""

import inspect
import os
from pathlib import Path

import pytest
import typer

from palmetto.cli import common, runs
from palmetto.cli.app import app
from palmetto.corpus.reading.finding import find
from palmetto.corpus.rules.filters import _bad_words
from palmetto.errors import UserError
from palmetto.recipe import loading
from palmetto.recipe.corpus import Source

TINY = "tokens: {vocabulary_size: 300, sequence_length: 16}\nmodel: {layers: 1, d_model: 16, heads: 2}\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes a home directory with a recipe and text, and changes to a directory beside it."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "home" / "texts").mkdir(parents=True)
    (tmp_path / "home" / "texts" / "a.txt").write_text("One.\n")
    (tmp_path / "home" / "tiny.yaml").write_text(f"{TINY}training: {{steps: 8, batch_size: 4}}\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "home"


def refusal(*arguments: str) -> str:
    with pytest.raises(typer.TyperException) as caught:
        app([*arguments], standalone_mode=False)
    return caught.value.format_message()


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["run", "quickstart", "--run", ""], "--run"),
        (["train", "quickstart", "--run="], "--run"),
        (["run", "quickstart", "--source", ""], "--source"),
        (["sweep", "quickstart", "--out", ""], "--out"),
        (["report", ""], "DIR"),
        (["report", "x", "--out", ""], "--out"),
        (["long-context", "x", "--out", ""], "--out"),
        (["corpus", "build", "palm-mix", "--out", ""], "--out"),
        (["corpus", "quality", "score", "", "x"], "FILE"),
        (["corpus", "quality", "train", "--curated", "a", "--other", "", "--out", "x"], "--other"),
        (["tokenizer", "train", "python", "--out", ""], "--out"),
        (["tokenizer", "encode", ""], "MODEL"),
        (["generate", "x", "--prompt-file", ""], "--prompt-file"),
    ],
)
def test_an_empty_path_is_refused_by_its_option(arguments: list[str], option: str) -> None:
    message = refusal(*arguments)
    assert message == f"Invalid value for '{option}': expected a path, found nothing; the working directory is ."


def test_every_path_of_every_command_has_the_same_parser() -> None:
    """Typer's own parser would keep the ~."""
    groups = [app, *(group.typer_instance for group in app.registered_groups)]
    groups += [inner.typer_instance for group in groups[1:] if group for inner in group.registered_groups]
    commands = [command.callback for group in groups if group for command in group.registered_commands]
    assert len(commands) > 15
    for command in commands:
        assert command is not None
        for name, parameter in inspect.signature(command).parameters.items():
            if "Path" in str(parameter.annotation):
                parser = parameter.annotation.__metadata__[0].parser
                assert parser is common.path, f"{command.__name__} {name}"


def test_a_leading_tilde_is_the_home_directory(home: Path) -> None:
    assert common.path("~/x") == home / "x"
    assert common.text_path("~") == str(home)
    assert common.text_path("gs://~/x") == "gs://~/x"
    assert common.path("./~") == Path("./~")


def test_a_recipe_and_its_source_may_be_at_home(home: Path) -> None:
    overrides = ["corpus.source=~/texts", "corpus.build={root: ~/texts, sources: {a: {paths: [a.txt]}}}"]
    recipe, directory = runs.prepare("~/tiny.yaml", overrides, None, None)
    assert recipe.corpus.source == str(home / "texts")
    assert recipe.corpus.build is not None
    assert recipe.corpus.build.root == str(home / "texts")
    assert directory.path == Path("runs/tiny")
    with pytest.raises(UserError, match=rf"^{home}/tinny\.yaml: no such file \(did you mean '{home}/tiny\.yaml'\?\)"):
        loading.load("~/tinny.yaml")


def test_a_run_directory_that_is_not_utf_8_is_refused(home: Path) -> None:
    with pytest.raises(UserError, match=r"^--run 'b\\udcffd': not UTF-8, and checkpoints take no other path"):
        runs.prepare("~/tiny.yaml", None, None, Path(os.fsdecode(b"b\xffd")))


def test_the_files_of_a_corpus_may_be_at_home(home: Path) -> None:
    for given in ("~/texts", "~/texts/a.txt", "~/*/a.txt"):
        [file] = find(Source(paths=(given,)), None, "a").files
        assert file.path == str(home / "texts" / "a.txt")
        assert os.path.isabs(file.name)
    recipe = loading.load("~/tiny.yaml", ["corpus.build={sources: {a: {paths: [~/texts]}}}"])
    assert recipe.corpus.build is not None
    assert recipe.corpus.build.sources["a"].paths == ("~/texts",), "the path as written is part of a run's identity"
    (home / "words").write_text("damn\n")
    named = loading.load("~/tiny.yaml", ["corpus.build={sources: {a: {paths: [x]}}, filters: {bad_words: ~/words}}"])
    assert named.corpus.build is not None
    assert _bad_words(named.corpus.build) == ("damn",)
