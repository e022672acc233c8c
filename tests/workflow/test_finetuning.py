"""Fine-tuning is a run like any other: it resumes, verifies and is elastic, from a base that is named by digest."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from palmetto.decoding.trained import restore
from palmetto.errors import UserError
from palmetto.interop import importing, safetensors
from palmetto.recipe import loading
from palmetto.recipe.finetuning import Finetuning
from palmetto.runs.directory import RunDirectory
from palmetto.runs.register import completed
from palmetto.tokens.marks import unmark
from palmetto.tokens.store import TokenStore
from palmetto.tokens.vocabulary import Vocabulary
from palmetto.workflow import finetuning
from palmetto.workflow.choosing import geometric_mean
from palmetto.workflow.examples import Examples
from tests.references.command_runs import bits, command, contents, told

SHORT = (
    "training.steps=4",
    "training.batch_size=8",
    "training.schedule.warmup=1",
    "training.schedule.peak=1e-2",
    "training.checkpoint_every=2",
    "training.evaluate_every=4",
    "training.digest_every=2",
    "training.peak_flops=1e11",
)


def write(path: str, lines: list[dict[str, Any]]) -> None:
    Path(path).write_text("".join(json.dumps(line) + "\n" for line in lines))


def copa_in(folder: str) -> None:
    Path(f"{folder}/superglue/COPA").mkdir(parents=True)
    records = [{"premise": "x", "choice1": "A", "choice2": "B", "question": "cause", "label": n % 2} for n in range(6)]
    write(f"{folder}/superglue/COPA/val.jsonl", [{**each, "premise": f"It is {n}."} for n, each in enumerate(records)])


def finetune(out: str, *arguments: object, data: str = "data.jsonl") -> RunDirectory:
    assert command("finetune", "run", "--data", data, "--run", out, *SHORT, *arguments) == 0
    return RunDirectory(Path(out))


@pytest.fixture(autouse=True)
def data(run: RunDirectory) -> None:
    """Writes examples, and pairs of answers, into the working directory, which has the finished run."""
    write("data.jsonl", [{"prompt": f"{n}+1=", "target": f" {n + 1}"} for n in range(40)])
    write("pairs.jsonl", [{"prompt": f"{n}+", "chosen": "1", "rejected": "0"} for n in range(20)])


LORA = ("training.dropout=0.1", "--lora", "q,v", "--rank", 2)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [(), LORA], ids=["full", "lora"])
def test_a_stopped_finetuning_resumes_with_the_same_bits(run: RunDirectory, arguments: tuple[object, ...]) -> None:
    whole = finetune("whole", *arguments)
    for until in (1, 3):
        finetune("stopped", *arguments, "--until", until)
    stopped = finetune("stopped", *arguments)
    assert bits(stopped) == bits(whole)
    assert command("verify", "whole") == 0
    assert command("verify", "whole", "mesh.data=2", "mesh.zero=0") == 0
    assert whole.ledger_lines == 4
    assert json.loads(whole.summary.read_text())["validation_loss"]["last"] > 0
    assert Path("whole/samples.txt").exists()
    assert Path("whole/report.html").exists()


@pytest.mark.slow
def test_a_resumed_finetuning_keeps_its_files_and_weights(run: RunDirectory, capfd: pytest.CaptureFixture[str]) -> None:
    write("more.jsonl", [{"prompt": "a", "target": "b"}] * 20)
    given = ("finetune", "run", "--run", "tuned", *SHORT, "--data", "data.jsonl=1", "--data")
    assert command(*given, "more.jsonl=2", "--until", 1) == 0
    before = contents(RunDirectory(Path("tuned")))
    Path("more.jsonl").rename("elsewhere.jsonl")
    for other in ("moer.jsonl=2", "more.jsonl=5"):
        with pytest.raises(UserError, match=r"tuned was begun with .*data\.jsonl=1 .*more\.jsonl=2;"):
            command(*given, other)
        assert contents(RunDirectory(Path("tuned"))) == before
    capfd.readouterr()
    assert command(*given, "more.jsonl=2") == 0
    assert "more.jsonl is gone; going on with the tokens made from it" in capfd.readouterr().err


@pytest.mark.slow
def test_it_begins_with_the_parameters_of_the_base(run: RunDirectory) -> None:
    tuned = finetune("tuned", "--step", 4, "--lora", "q", "training.schedule.peak=1e-30")
    assert tuned.recipe.finetuning is not None
    assert tuned.recipe.finetuning.step == 4
    base, ours = (restore(each, step)[0].parameters for each, step in ((run, 4), (tuned, 4)))
    assert all(np.array_equal(np.asarray(ours[name]), np.asarray(base[name])) for name in base)
    assert set(ours) - set(base) == {"q_lora_a", "q_lora_b"}


@pytest.mark.slow
def test_the_same_command_keeps_the_checkpoint_that_it_began_with(run: RunDirectory) -> None:
    same = ("finetune", "run", "--data", "data.jsonl", *SHORT)
    assert command(*same, "--step", 4, "--until", 1) == 0
    assert completed(run.checkpoints)[-1] > 4, "the base has a newer one"
    shutil.rmtree(run.checkpoints / "00000004")  # as a base does that trains on
    assert command(*same, "--until", 2) == 0
    assert command(*same, "--step", 4) == 0
    [tuned] = map(RunDirectory, Path("runs").iterdir())
    assert tuned.recipe.finetuning is not None
    assert tuned.recipe.finetuning.step == 4
    assert tuned.ledger_lines == 4


def test_only_a_checkpoint_that_is_gone_is_taken_on_trust(run: RunDirectory) -> None:
    def parameters(base: str, step: int) -> str:
        begun = Finetuning(base=base, step=step, parameters="tree:another")
        resolved = finetuning.begin(run, None, "adamw", ["data.jsonl"], (), begun)
        assert resolved.finetuning is not None
        return resolved.finetuning.parameters

    here, there = str(run.path.absolute()), "/another"
    assert parameters(here, 3) == "tree:another"
    assert parameters(here, 4) == parameters(there, 4) != "tree:another"
    with pytest.raises(UserError, match="no such checkpoint"):
        parameters(there, 3)


@pytest.mark.slow
def test_other_optimizers_and_files_of_text_train_too(run: RunDirectory) -> None:
    palm = finetune("palm", "--recipe", "palm", "tokens.sequence_length=16", "training.schedule={peak: 1e-4}")
    assert palm.recipe.training.dropout == 0.1
    write("text.jsonl", [{"text": f"Some text of {n} words, to be read on and on.\n" * 3} for n in range(30)])
    continued = finetune("continued", "--recipe", "continued", data="text.jsonl")
    store = TokenStore.open(continued.train_store)
    assert unmark(store.read_stored(np.arange(store.windows))).scored[:, 1:].mean() > 0.99


@pytest.mark.slow
def test_pretraining_goes_on_with_other_text_and_longer_sequences(run: RunDirectory) -> None:
    Path("other.txt").write_text(Path("text.txt").read_text()[::2])
    causal, longer = "training.objective={name: causal}", "tokens.sequence_length=32"
    stretched = "model.positions={scaling: interpolation, factor: 2}"
    arguments = (
        "--recipe",
        "continued",
        causal,
        longer,
        stretched,
        "corpus.source=other.txt",
        "corpus.section_bytes=2048",
    )
    assert command("finetune", "run", "--run", "tuned", *arguments, "corpus.validation_share=0.1", *SHORT) == 0
    tuned = RunDirectory(Path("tuned"))
    assert tuned.vocabulary.read_bytes() == run.vocabulary.read_bytes()
    assert tuned.recipe.corpus.source == str(Path("other.txt").absolute())
    assert not TokenStore.open(tuned.train_store).header.marked
    assert command("verify", "tuned") == 0


@pytest.mark.slow
def test_preferences_begin_at_log_two_and_verify(run: RunDirectory) -> None:
    tuned = finetune("tuned", "--recipe", "preferences", data="pairs.jsonl")
    first = json.loads(tuned.ledger.read_text().splitlines()[0])
    assert float.fromhex(first["loss"]) == pytest.approx(np.log(2), rel=1e-6)
    losses = json.loads(tuned.summary.read_text())["validation_loss"]
    assert losses["last"] < losses["first"] == pytest.approx(np.log(2), rel=1e-6)
    assert command("verify", "tuned", "--from", 2, "mesh.data=2") == 0
    page = tuned.report.read_text()
    assert "nats a pair; log 2 is that of the base" in page
    assert "unigram entropy" not in page.lower()


@pytest.mark.slow
def test_a_moved_base_is_named_and_found_again(run: RunDirectory) -> None:
    finetune("tuned", "--until", 1)
    shutil.rmtree("tuned/checkpoints")
    for name in ("checkpoints.json", "ledger.jsonl", "summary.json"):
        Path("tuned", name).unlink(missing_ok=True)
    Path("run").rename("moved")
    with pytest.raises(UserError, match=r"finetuning\.base=.*run: no run there"):
        command("train", "tuned/recipe.yaml", "--run", "tuned")
    assert command("train", "tuned/recipe.yaml", "--run", "tuned", f"finetuning.base={Path('moved').absolute()}") == 0
    assert command("verify", "tuned") == 0


@pytest.mark.slow
def test_an_altered_base_is_refused(run: RunDirectory) -> None:
    tuned = finetune("tuned")
    recipe = tuned.recipe
    assert recipe.finetuning is not None
    begun = recipe.finetuning.model_copy(update={"parameters": "tree:another"})
    tuned.recipe_file.write_text(loading.dump(recipe.model_copy(update={"finetuning": begun})))
    with pytest.raises(UserError, match=r"finetuning\.parameters 'tree:.*' → 'tree:another'|altered since checkpoint"):
        command("verify", "tuned")
    with pytest.raises(UserError, match=r"finetuning\.base=.*: its step 6 has the parameters tree:"):
        command("train", "tuned/recipe.yaml", "--run", "other")


@pytest.mark.slow
def test_what_is_too_long_is_told(run: RunDirectory, capfd: pytest.CaptureFixture[str]) -> None:
    write("long.jsonl", [{"prompt": "x" * 99, "target": "y"}, *({"prompt": f"{n}", "target": "z"} for n in range(40))])
    tuned = finetune("tuned", "--json", data="long.jsonl")
    out, err = capfd.readouterr()
    assert f"left out, since too long: 1 examples: {Path('long.jsonl').absolute()}:1 (" in err
    assert json.loads(out) == json.loads(tuned.summary.read_text())
    assert "examples left out" in told(tuned)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--data", "gone.jsonl"), "gone.jsonl: no such file"),
        (("--data", "data.jsonl=much"), "'much' is no weight; expected a number"),
        (("--data", "pairs.jsonl"), "pairs.jsonl:1: .*examples expects the keys prompt and target"),
        (("--data", "data.jsonl", "--recipe", "plam"), "plam: .*did you mean 'palm'"),
        (("--data", "data.jsonl", "--step", "5"), "--step 5: no such checkpoint; there are 2, 4, 6"),
        (("--data", "data.jsonl", "--lora", "qq"), "model.lora.weights=qq: matches none of"),
        (("--data", "data.jsonl", "--rank", "2"), "--rank 2: is for adapters; expected --lora"),
        (("--data", "data.jsonl", "model.d_model=32"), "model.d_model 16 → 32"),
        (("--data", "data.jsonl", "--data", "./data.jsonl=2"), r"\./data.jsonl=2: given twice"),
        (
            ("--data", "data.jsonl", "model.positions={name: learned, length: 16}"),
            r"needs the weight positions as \[16, 16\], and .*run has none; expected a change",
        ),
        (
            ("--data", "data.jsonl", "--lora", "q,embedding", "finetuning.pieces=['<|q|>']"),
            "finetuning.pieces: the new rows of embedding would stay as they are drawn",
        ),
        (
            ("--data", "data.jsonl", "training.frozen=[embed*]", "finetuning.pieces=['<|q|>']"),
            "finetuning.pieces: the new rows of embedding would stay as they are drawn",
        ),
        ((), "names no text"),
    ],
)
def test_a_refused_finetuning_makes_no_run(run: RunDirectory, arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        command("finetune", "run", "--run", "tuned", *SHORT, *arguments)
    assert not Path("tuned/ledger.jsonl").exists()


@pytest.mark.slow
def test_added_pieces_leave_the_old_rows_and_ids(run: RunDirectory) -> None:
    write("chat.jsonl", [{"prompt": f"<|q|>{n}<|a|>", "target": f" {n}"} for n in range(40)])
    still, pieces = "training.schedule.peak=1e-30", "finetuning.pieces=['<|q|>', '<|a|> ']"
    tuned = finetune("tuned", pieces, still, data="chat.jsonl")
    before, after = (Vocabulary.load(each.vocabulary) for each in (run, tuned))
    assert after.size == before.size + 2
    assert after.encode("<|q|>12<|a|> 3").tolist() == [
        before.size,
        *before.encode("12").tolist(),
        before.size + 1,
        *before.encode("3").tolist(),
    ]
    assert after.encode("no new pieces").tolist() == before.encode("no new pieces").tolist()
    base, ours = (np.asarray(restore(each)[0].parameters["embedding"]) for each in (run, tuned))
    assert np.array_equal(ours[: before.size], base)
    assert np.all(np.std(ours[before.size :], axis=1) > 0.5)
    assert command("verify", "tuned") == 0


def test_chats_go_through_the_template_of_the_recipe(run: RunDirectory) -> None:
    """The text of turns lies between segments that are encoded by themselves, and [eod] ends the assistant's."""
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
    write("chat.jsonl", [{"messages": [*chat, {"role": "user", "content": str(n)}, chat[1]]} for n in range(9)])
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% if m.role == 'assistant' %}{{ eos_token }}"
    template += "{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    overrides = [loading.override("tokens.chat_template", template), "tokens.sequence_length=64"]
    examples, tuned = (
        Examples(finetuning.begin(run, None, "adamw", ["chat.jsonl"], overrides)),
        RunDirectory(Path("tuned")),
    )
    examples.make_vocabulary(tuned, print)
    examples.make_stores(tuned, print)
    vocabulary, store = Vocabulary.load(tuned.vocabulary), TokenStore.open(tuned.train_store)
    tokens, scored, begins = (array[0] for array in unmark(store.read_stored(np.array([0]))))
    example = slice(0, int(np.flatnonzero(begins)[1]))
    assert vocabulary.decode(tokens[example][scored[example]]) == "HoHo"
    given, answer = vocabulary.encode("<user>Hi<assistant>").tolist(), vocabulary.encode("Ho").tolist()
    turn = [vocabulary.eod, *given, *answer, vocabulary.eod]
    assert tokens[: len(turn)].tolist() == turn
    assert tokens[example][-1] == vocabulary.eod
    assert np.sum(tokens[example] == vocabulary.eod) == 3, "one begins, and each turn of the assistant ends with one"


@pytest.mark.slow
def test_a_score_chooses_the_checkpoint_and_ends_the_run(run: RunDirectory) -> None:
    copa_in("sets")
    judged = ("--choose", "copa", "--tasks-data", "sets", "--patience", 1, "tokens.sequence_length=64")
    tuned = finetune("tuned", *judged, "training.steps=8")
    chosen = json.loads(Path("tuned/chosen.json").read_text())
    scores = {int(step): score for step, score in chosen["scores"].items()}
    best = max(scores.values())
    assert chosen["score"] == best
    assert chosen["step"] == min(step for step, score in scores.items() if score == best)
    kept = completed(tuned.checkpoints)
    assert set(scores) <= set(kept)
    assert max(scores) == 8 or max(scores) > chosen["step"], "it trained to the end, or had a checkpoint no better"
    assert command("generate", "tuned", "--prompt", "1+1=", "--tokens", 2, "--step", chosen["step"]) == 0
    with pytest.raises(UserError, match=r"--choose: .*limit=None; expected 3, or another --run"):
        finetune("tuned", *judged, "training.steps=8", "--limit", 3)


@pytest.mark.slow
def test_a_choice_needs_every_checkpoint(run: RunDirectory) -> None:
    copa_in("sets")
    tuned = finetune("tuned", "tokens.sequence_length=64")
    shutil.rmtree(tuned.checkpoints / "00000002")  # as a longer run does that keeps the last ones
    with pytest.raises(UserError, match="--choose: tuned keeps no checkpoint of step 2 to choose from"):
        finetune("tuned", "--choose", "copa", "--tasks-data", "sets", "tokens.sequence_length=64")


def test_geometric_mean_is_of_all_tasks() -> None:
    assert geometric_mean({"a": {"value": 20.0}, "b": {"value": 80.0}}) == pytest.approx(40)
    assert geometric_mean({"a": {"value": 0.0}, "b": {"value": 80.0}}) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--patience", "2"), "--patience 2: is for a choice by tasks; add --choose TASK"),
        (("--choose", "copa"), "--choose copa: expected names of tasks, and --tasks-data FOLDER"),
        (("--choose", "copa", "--tasks-data", "gone"), "--choose, --tasks-data: --data gone"),
        (("--choose", "copa", "--tasks-data", "sets", "training.evaluations={tasks: [copa], data: sets}"), "both"),
        (("--choose", "superglue", "--tasks-data", "sets"), "--choose superglue: a suite or a file"),
        (("--choose", "toxicity", "--tasks-data", "sets"), "--choose toxicity: its toxicity is no score"),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused(run: RunDirectory, arguments: tuple[str, ...], words: str) -> None:
    copa_in("sets")
    Path("sets/realtoxicityprompts").mkdir()
    write("sets/realtoxicityprompts/prompts.jsonl", [{"prompt": {"text": "x", "toxicity": 0.1}}])
    with pytest.raises(UserError, match=words):
        finetune("tuned", *arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--run", "run/inside"), "--run run/inside: within run, which fine-tuning begins with"),
        (("--run", "run/checkpoints/00000002/inside"), "within run, which fine-tuning begins with"),
        (("finetuning=null",), "finetuning=null: fine-tuning begins with a run"),
        (("--run", "tuned", "--lora", "q,zz"), r"model\.lora\.weights=zz: matches none of"),
        (("--run", "tuned", "--lora", "?norm*"), r"model\.lora\.weights=\?norm\*: matches none of"),
        (("--run", "tuned", "training.frozen=[zz]"), r"training\.frozen=zz: matches none of"),
        (("--lora", ""), r"model\.lora\.weights=\[\]"),
    ],
)
def test_what_cannot_be_finetuned_is_refused_untouched(
    run: RunDirectory, arguments: tuple[str, ...], words: str
) -> None:
    before = contents(run)
    with pytest.raises(UserError, match=words):
        command("finetune", "run", "--data", "data.jsonl", *SHORT, *arguments)
    assert contents(run) == before
    assert not Path("tuned").exists()


@pytest.mark.slow
def test_an_export_has_the_merged_weights(run: RunDirectory) -> None:
    tuned = finetune("tuned", "--lora", "q,embedding", "--rank", 2)
    assert command("export", "tuned", "--to", "safetensors", "--out", "exported") == 0
    exported = safetensors.read(Path("exported"))
    state, *_ = restore(tuned)
    arrays = {name: np.asarray(array, float) for name, array in state.parameters.items()}
    merged = arrays["embedding"] + arrays["embedding_lora_a"] @ arrays["embedding_lora_b"]
    assert exported["embedding"] == pytest.approx(merged, rel=1e-5, abs=1e-6)
    assert not [name for name in exported if "lora" in name]
    assert command("export", "tuned", "--to", "huggingface", "--out", "again") == 0
    importing.make(Path("again"), RunDirectory(Path("imported")))
    imported = restore(RunDirectory(Path("imported")))[0].parameters
    assert np.array_equal(np.asarray(imported["embedding"]), exported["embedding"])
    assert not [name for name in imported if "lora" in name]
