"""The command line as a user runs it."""

import gzip
import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import palmetto
from palmetto.drills.catalogue import DRILLS
from tests.references.whole_runs import Runs

pytestmark = pytest.mark.slow


def test_run_does_every_stage_once(make_runs: Callable[[Path], Runs], tmp_path: Path) -> None:
    runs = make_runs(tmp_path)
    arguments = ("run", runs.recipe, "--source", runs.text, "--run", "out", "training.steps=12")
    out, _ = runs(*arguments)
    assert "palmetto generate out" in out
    assert "--source" not in out  # which the user knows already
    made = {
        "recipe.yaml",
        "vocabulary.model",
        "ledger.jsonl",
        "events.jsonl",
        "energy.jsonl",
        "summary.json",
        "samples.txt",
        "report.html",
    }
    assert made <= {path.name for path in (tmp_path / "out").iterdir()}
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["steps"] == 12
    assert summary["validation_loss"]["last"] < summary["validation_loss"]["first"]
    assert summary["unigram_entropy"] > 0
    assert summary["energy"]["kwh"] > 0
    assert summary["energy"]["how"].startswith(("measured by RAPL", "estimated from 12 W a core"))
    times = {
        name: (tmp_path / "out" / name).stat().st_mtime_ns
        for name in ("vocabulary.model", "samples.txt", "summary.json")
    }
    answer = json.loads(runs(*arguments, "--json")[0])
    assert answer == summary
    assert times == {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in times}, (
        "finished stages are skipped"
    )
    # The same recipe with more steps resumes.
    runs(*arguments[:-1], "training.steps=15")
    ledger = (tmp_path / "out" / "ledger.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in ledger] == list(range(1, 16))


def test_refusals_name_what_is_wrong(prepared: Runs, straight: object, tmp_path: Path) -> None:
    for arguments, words in (
        (("plan", "quickstar"), ("quickstar", "'quickstart'")),
        (("plan", "quickstart", "model.layer=3"), ("model.layer", "'model.layers'")),
        (("plan", "quickstart", "model.heads=5"), ("model.heads=5", "d_model")),
        (("plan", "quickstart", "training.batch_size=12"), ("training.batch_size=12", "8 or 16")),
        (("plan", "quickstart", "training.steps=many"), ("training.steps", "many", "integer")),
        (("verify", "nowhere"), ("nowhere", "not a run directory")),
        (("digest", "straight", "--step", 7), ("--step 7", "60")),
        (("verify", "straight", "--from", 9, "--to", 99), ("--to 99", "60")),
        (("generate", "straight", "--temperature", "-1"), ("--temperature", "-1")),
        (("generate", "straight", "--top-p", "1.5"), ("--top-p", "1.5")),
        (("generate", "straight", "--top-k", "0"), ("--top-k", "0")),
        (("verify", "straight", "training.steps=4"), ("training.steps=4", "its mesh, as in mesh.data=2")),
        (("verify", "straight", "model.layers=9"), ("model.layers=9", "its mesh, as in mesh.data=2")),
        (("verify", "straight", "mesh.dat=2"), ("mesh.dat:", "'mesh.data'")),
        (
            ("train", prepared.recipe, "--coordinator", "foo:bar", "--process-count", "2", "--process-index", "0"),
            ("--coordinator foo:bar", "HOST:PORT"),
        ),
        (("tokenizer", "train", prepared.text, "--out", "x.model", "--size", 10), ("--size 10", "at least ")),
        (("tokenizer", "train", prepared.text, "--out", "x.model", "--size", 999999), ("--size 999999", "at most ")),
        (("frobnicate",), ("frobnicate",)),
        (("run", prepared.recipe, "--source", "nothing-there"), ("nothing-there",)),
        (("run", prepared.recipe), ("--source",)),
        (
            ("train", prepared.recipe, "--run", "new", f"corpus.source={prepared.text}", "training.frozen=[zz]"),
            ("training.frozen=zz: matches none of",),
        ),
        (("train", prepared.recipe, "--run", "straight", "--until", 61), ("--until 61", "60")),
        (
            ("train", prepared.recipe, "--run", "straight", f"corpus.source={prepared.text}", "model.layers=3"),
            ("straight", "model.layers 1 → 3", "--run"),
        ),
        (
            ("train", prepared.recipe, "--run", "straight", f"corpus.source={prepared.recipe.parent}/other.txt"),
            ("straight", "other text", "--run"),
        ),
        (
            ("train", prepared.recipe, "--run", "straight", f"corpus.source={prepared.text}", "training.steps=50"),
            ("training.steps=50", "60"),
        ),
    ):
        (prepared.folder / "other.txt").write_text("Other text. " * 5000)
        out, err = prepared(*arguments, expect=2)
        assert err.count("\n") == 1, err
        assert err.startswith("palmetto: ")
        for word in words:
            assert word in err, err
        assert not out
    assert not (prepared.folder / "new").exists()


@pytest.mark.parametrize("command", ["run", "train"])
def test_more_devices_than_threads_are_refused_at_once(prepared: Runs, command: str) -> None:
    arguments = (
        prepared.recipe,
        f"corpus.source={prepared.text}",
        "mesh.sequence=4",
        "mesh.model=2",
        "training.threads=4",
    )
    _, err = prepared(command, *arguments, "--run", "crowded", expect=2)
    assert err.startswith("palmetto: training.threads=4: fewer than the 8 CPU devices asked for")
    assert err.count("\n") == 1, "the message is the only line"
    assert not (prepared.folder / "crowded").exists()


def test_verify_counts_up_to_its_last_step(prepared: Runs, straight: object) -> None:
    _, err = prepared("verify", "straight", "--to", 5)
    assert "verifying: step 5/5 " in err


def test_more_tokens_than_an_epoch_are_refused(prepared: Runs) -> None:
    _, err = prepared.train("long", "training.steps=5000", expect=2)
    assert "training.steps=5000" in err
    assert "training.epochs" in err
    fits = int(err.partition("at most ")[2].split()[0])
    assert 100 < fits < 5000
    prepared.train("long", f"training.steps={fits}", "--until", 1)
    _, err = prepared.train("longer", f"training.steps={fits + 1}", expect=2)
    prepared.train("epochs", f"training.steps={fits + 1}", "training.epochs=2", "--until", 1)


def test_a_source_that_is_too_small_is_refused(make_runs: Callable[[Path], Runs], tmp_path: Path) -> None:
    runs = make_runs(tmp_path)
    (tmp_path / "small.txt").write_text((runs.text / "calendar.txt").read_text()[:20000])
    _, err = runs("run", runs.recipe, "--source", "small.txt", "tokens.vocabulary_size=20000", expect=2)
    line = err.strip().splitlines()[-1]
    assert "tokens.vocabulary_size=20000" in line
    fits = int(line.partition("at most ")[2].split()[0])
    assert "training.steps=" in line
    steps = max(1, int(line.rpartition("training.steps=")[2]))
    _, err = runs(
        "run",
        runs.recipe,
        "--source",
        "small.txt",
        f"tokens.vocabulary_size={fits}",
        "tokens.sequence_length=16",
        f"training.steps={steps}",
        "training.batch_size=1",
    )


def test_every_kind_of_source_is_read(make_runs: Callable[[Path], Runs], tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    import zstandard

    runs = make_runs(tmp_path)
    texts = [path.read_text() for path in sorted(runs.text.iterdir())]
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    (mixed / "a.md").write_text(texts[0])
    (mixed / "b.txt.gz").write_bytes(gzip.compress(texts[1].encode()))
    jsonl = "".join(json.dumps({"text": part, "n": 1}) + "\n" for part in texts[2].split("\n\n"))
    (mixed / "c.jsonl.zst").write_bytes(zstandard.compress(jsonl.encode()))
    pq.write_table(pa.table({"text": texts[3].split("\n\n")}), mixed / "d.parquet")
    (mixed / "ignored.bin").write_bytes(bytes(range(256)))
    _, err = runs("train", runs.recipe, f"corpus.source={mixed}", "--run", "mixed-run", "--until", 2)
    assert "ignored.bin" in err
    assert "4 files" in err


def test_a_run_may_lie_inside_its_source(make_runs: Callable[[Path], Runs], tmp_path: Path) -> None:
    runs = make_runs(tmp_path)
    books = tmp_path / "books 📚"
    books.mkdir()
    text = "ha \ud83d he \ud83d ho \ude00\n" * 20
    (books / "a.jsonl").write_text("".join(json.dumps({"text": f"{number} {text}"}) + "\n" for number in range(60)))
    command = ("run", runs.recipe, "tokens.vocabulary_size=280", "--source", books, "--run", books / "runs" / "mine")
    runs(*command, "training.steps=2")
    ledger = (books / "runs" / "mine" / "ledger.jsonl").read_bytes()
    out, err = runs(*command, "training.steps=3")
    assert "step 3" in err
    assert "report {}".format(books / "runs" / "mine") in out
    assert "--source" not in out, "it would be refused in this very run"
    assert (books / "runs" / "mine" / "ledger.jsonl").read_bytes().startswith(ledger)
    assert b"\xed\xa0\xbd" in (books / "runs" / "mine" / "samples.txt").read_bytes()
    _, err = runs("run", runs.recipe, "--source", books, "--run", books, expect=2)
    assert "the source itself" in err
    assert sorted(path.name for path in books.iterdir()) == ["a.jsonl", "runs"]


def test_two_processes_cannot_train_in_one_directory(prepared: Runs) -> None:
    shutil.copytree(prepared.folder / "tokens-only", prepared.folder / "contended")
    arguments = ("train", prepared.recipe, "--run", "contended", f"corpus.source={prepared.text}", "training.steps=200")
    first = prepared.start(*arguments)
    try:
        while not (prepared.folder / "contended" / "ledger.jsonl").exists():
            assert first.poll() is None
        _, err = prepared(*arguments, expect=2)
        assert f"in use by process {first.pid}" in err
    finally:
        first.kill()
        first.communicate()


def test_a_full_disk_is_one_line_and_harms_nothing(prepared: Runs, straight: tuple[str, str, bytes]) -> None:
    """A limit on file size replaces the full disk; writing fails in the same way, at the first large file."""
    prepared.train("full", "--until", 15)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    _, err = prepared.train("full", expect=2, preexec_fn=limit)
    assert err.strip().splitlines()[-1].startswith("palmetto: ")
    prepared.train("full")
    assert prepared.bits("full") == straight


def test_generate_is_deterministic_and_bounded(prepared: Runs, straight: object) -> None:
    def text(*options: object) -> str:
        return str(json.loads(prepared("generate", "straight", "--prompt", "import ", "--json", *options)[0])["text"])

    assert text("--seed", 0) == text("--seed", 0) != text("--seed", 2**32)
    assert text("--temperature", 0) == text("--top-k", 1) == text("--temperature", 0, "--seed", 5, "mesh.model=2")
    out, _ = prepared("generate", "straight", "--prompt", "été 🌴", "--tokens", 1)
    assert out.startswith("été 🌴")


def test_a_prompt_comes_from_a_file_or_standard_input(prepared: Runs, straight: object) -> None:
    data = b"import \xff\n" + b"x" * 300
    (prepared.folder / "prompt.txt").write_bytes(data)
    asked = ("generate", "straight", "--tokens", 4)
    out, err = prepared(*asked, "--prompt-file", "prompt.txt")
    assert out.encode(errors="surrogateescape").startswith(data)
    assert "beyond the 32 that the model was trained on" in err
    assert prepared(*asked, "--prompt-file", "-", standard_input=data)[0] == out
    assert "give one of them" in prepared(*asked, "--prompt-file", "-", "--prompt", "x", expect=2)[1]
    assert "nowhere.txt: No such file" in prepared(*asked, "--prompt-file", "nowhere.txt", expect=2)[1]


def test_generate_accepts_other_positions_and_attention(prepared: Runs, straight: object) -> None:
    def text(*overrides: str) -> str:
        return str(json.loads(prepared("generate", "straight", *overrides, "--prompt", "import ", "--json")[0])["text"])

    assert text("model.attention={name: sinks, sinks: 1, window: 4}") != text(
        "model.attention={name: local, window: 2}"
    )
    for override, words in (
        ("model.positions={name: t5}", "other parameters"),
        ("model.layers=3", "model.layers"),
        ("mesh.sequence=2", "a trained model runs on one device, or on those of mesh.model and mesh.data"),
        ("model.attention.windw=3", "model.attention.windw"),
    ):
        _, err = prepared("generate", "straight", override, "--prompt", "x", expect=2)
        assert words in err


def test_long_context_shows_every_change(prepared: Runs, straight: object) -> None:
    out, err = prepared("long-context", "straight", "--times", 2, "--sequences", 2, "--json")
    assert err.endswith("perplexity by position, also in straight/long-context.html:\n")
    values = json.loads(out)
    assert values["trained_length"] == 32
    assert [len(way["loss_by_stretch"]) for way in values["ways"]] == [2] * 9
    made = {f"long-context.{ending}" for ending in ("json", "md", "png", "html")}
    assert made <= {path.name for path in (prepared.folder / "straight").iterdir()}
    _, err = prepared("long-context", "straight", "--times", 1, expect=2)
    assert "--times" in err


def test_tokenizer_round_trips_any_bytes(prepared: Runs) -> None:
    model = prepared.folder / "vocabulary.model"
    prepared("tokenizer", "train", prepared.text, "--size", 400, "--out", model)
    data = bytes(range(256)) + "\n  \t ▁[eod]<0x41> é 🌴\r\n ".encode()
    ids, _ = prepared("tokenizer", "encode", model, standard_input=data)
    assert all(word.isdigit() for word in ids.split())
    process = prepared.start("tokenizer", "decode", model, stdin=-1)
    assert process.communicate(ids.encode())[0] == data
    assert "[eod]" in prepared("tokenizer", "inspect", model)[0]
    _, err = prepared("tokenizer", "decode", model, standard_input=b"1 two 3", expect=2)
    assert "'two'" in err
    _, err = prepared("tokenizer", "decode", model, standard_input=b"1 99999", expect=2)
    assert "99999" in err


@pytest.mark.parametrize(
    ("recipe", "parameters"),
    [("palm-8b", 8_632_012_800), ("palm-62b", 62_495_662_080), ("palm-540b", 540_356_474_880)],
)
def test_plan_counts_the_paper_models_exactly(prepared: Runs, recipe: str, parameters: int) -> None:
    plan = json.loads(prepared("plan", recipe, "--json")[0])
    assert plan["parameters"]["total"] == plan["parameters"]["active"] == parameters
    assert {"kwh", "kg_co2e"} <= plan["energy"].keys()
    model = {"palm-8b": (32, 16), "palm-62b": (64, 32), "palm-540b": (118, 48)}[recipe]
    assert plan["flops_per_token"] == 6 * parameters + 12 * model[0] * model[1] * 256 * 2048


def test_help_lists_every_command(prepared: Runs) -> None:
    out, _ = prepared("--help")
    for command in (
        "run",
        "train",
        "verify",
        "digest",
        "generate",
        "serve",
        "plan",
        "report",
        "recipes",
        "tokenizer",
        "sweep",
        "long-context",
        "drill",
    ):
        assert command in out
    names = json.loads(prepared("recipes", "--json")[0])
    assert {"quickstart", "palm-1m", "palm-15m", "palm-150m", "palm-8b", "palm-62b", "palm-540b"} <= set(names)


@pytest.mark.parametrize("group", [(), ("corpus",), ("corpus", "quality"), ("tokenizer",)], ids=" ".join)
def test_a_group_of_commands_prints_its_help(prepared: Runs, group: tuple[str, ...]) -> None:
    out, err = prepared(*group, expect=2)
    assert out.strip() == prepared(*group, "--help")[0].strip()
    assert not err


def test_drills_are_named_in_their_help(prepared: Runs) -> None:
    out, _ = prepared("drill", "--help")
    assert all(name in out for name in DRILLS)


def test_the_module_is_the_command(tmp_path: Path) -> None:
    module = [sys.executable, "-m", "palmetto"]
    done = subprocess.run([*module, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == f"palmetto {palmetto.__version__}\n"
    refused = subprocess.run([*module, "frobnicate"], cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode == 2
    assert refused.stderr == "palmetto: No such command 'frobnicate'.\n"
