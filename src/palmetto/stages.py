"""The stages of a run in order, each skipped when its output is complete and its inputs are unchanged.

A finished stage leaves stages/NAME.json: the digest of its inputs and of each file it made. What is missing, altered
or made from other inputs is made again, unless training has begun on it: then the change is refused.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palmetto import corpora, environment, recipes
from palmetto.cluster import Cluster
from palmetto.corpus import documents
from palmetto.errors import UserError
from palmetto.files import read_json, read_json_lines, sha256, text_bytes, write_bytes, write_json
from palmetto.progress import Reporter
from palmetto.recipe import Recipe
from palmetto.run_directory import RunDirectory
from palmetto.tokens import packing
from palmetto.tokens.order import Order
from palmetto.tokens.vocabulary import SizeError, Vocabulary

if TYPE_CHECKING:
    from palmetto.evaluation.long_context import Curve
    from palmetto.training.verify import Difference

Say = Callable[[str], None]


def build_tokens(run: RunDirectory, recipe: Recipe, say: Say) -> None:
    """Source → vocabulary → token stores. UserError if the text differs from what the run has trained on."""
    source, made = recipe.corpus.source, None
    if source is None and recipe.corpus.build is not None:
        source = str(run.path / "corpus")
        if not (run.begun and _outputs_whole(run, "tokens")):
            corpora.build(recipe, Path(source), say)
            made = Path(source) / documents.VOCABULARY
    if source is None:
        raise UserError(f"{recipe.name} names no text: give --source PATH, or corpus.source in the recipe")
    if run.begun and source != "python" and not Path(source).exists() and _outputs_whole(run, "tokens"):
        say(f"{source} is gone; going on with the tokens made from it")
        return
    fingerprint = documents.fingerprint(source)
    corpus, tokens = recipe.corpus, recipe.tokens
    inputs = {"fingerprint": fingerprint, "section_bytes": corpus.section_bytes}
    vocabulary_inputs = inputs | {"kind": tokens.vocabulary, "size": tokens.vocabulary_size}
    store_inputs = vocabulary_inputs | {
        "validation_share": corpus.validation_share,
        "sequence_length": tokens.sequence_length,
        "seed": recipe.training.seed,
    }
    if run.begun and not _complete(run, "tokens", store_inputs):
        raise UserError(f"{run.path} has trained on other text than {source} holds now (or its tokens are damaged); "
                        "give another directory with --run")  # fmt: skip

    def texts() -> Iterator[documents.Document]:
        return documents.read(source, corpus.section_bytes)

    if not _complete(run, "vocabulary", vocabulary_inputs):
        _describe_source(source, say)
        packing.check_divisible(texts())
        vocabulary = _train_vocabulary(texts, recipe, say) if made is None else Vocabulary.load(made)
        vocabulary.save(run.vocabulary)
        _finish(run, "vocabulary", vocabulary_inputs, [run.vocabulary])
    if not _complete(run, "tokens", store_inputs):
        packed = packing.pack(
            texts(),
            Vocabulary.load(run.vocabulary),
            run.train_store,
            run.validation_store,
            sequence_length=tokens.sequence_length,
            validation_share=corpus.validation_share,
            seed=recipe.training.seed,
            source_fingerprint=fingerprint,
        )
        say(f"tokens for training: {packed.train}")
        say(f"tokens for validation: {packed.validation}")
        _finish(run, "tokens", store_inputs, [run.train_store, run.validation_store])
        _order(packed.train.windows, recipe).check(recipe.training.steps)


def _train_vocabulary(texts: Callable[[], Iterable[documents.Document]], recipe: Recipe, say: Say) -> Vocabulary:
    tokens = recipe.tokens
    say(f"training a {tokens.vocabulary} vocabulary of {tokens.vocabulary_size} pieces")
    try:
        return Vocabulary.train((d.text for d in texts()), tokens.vocabulary_size, tokens.vocabulary)
    except SizeError as error:
        raise _too_large(error, texts, recipe) from None


def adopt(run: RunDirectory, other: RunDirectory, stage: str) -> None:
    """Takes over by hard links what another run's finished stage has made; `build_tokens` keeps it if its inputs fit.

    Neither run can touch the other's: files are written beside and renamed, never altered in place.
    """
    if _stamp(run, stage).exists():
        return
    made = [other.path / name for name in read_json(_stamp(other, stage))["outputs"]]
    for path in [*made, _stamp(other, stage)]:
        target = run.path / path.relative_to(other.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            target.hardlink_to(path)
        except OSError:  # a file system without hard links
            shutil.copy(path, target)


def _describe_source(source: str, say: Say) -> None:
    survey = documents.survey(source)
    say(f"text: {survey.documents:,} documents of {survey.bytes:,} bytes in {len(survey.files):,} files of {source}")
    if survey.empty:
        say(f"left out: {survey.empty:,} empty documents")
    for ignored in survey.ignored:
        say(f"left out: {ignored.name} ({ignored.reason})")


def _order(windows: int, recipe: Recipe) -> Order:
    training = recipe.training
    return Order(windows, training.batch_stages, training.seed, training.epochs)


def _too_large(error: SizeError, texts: Callable[[], Iterable[documents.Document]], recipe: Recipe) -> UserError:
    """The refusal of a vocabulary that the text is too small for, with the steps that a fitting one leaves."""
    if error.largest is None:
        return error
    vocabulary = Vocabulary.train((d.text for d in texts()), error.largest, recipe.tokens.vocabulary)
    tokens = sum(len(ids) + 1 for ids in vocabulary.encode_all([d.text for d in texts()]))
    windows = int(tokens * (1 - recipe.corpus.validation_share)) // recipe.tokens.sequence_length
    steps = _order(windows, recipe).steps_that_fit() if windows else 0
    return UserError(
        f"tokens.vocabulary_size={recipe.tokens.vocabulary_size}: the text gives at most {error.largest} pieces; "
        f"tokens.vocabulary_size={error.largest} would do, and then about training.steps={steps}"
    )


def enter(run: RunDirectory, say: Say, overrides: Sequence[str] = ()) -> Recipe:
    """Prepares this process for a run before JAX is imported, and says what of its record cannot be had here.

    Returns the run's recipe with `overrides` of its mesh.
    """
    recorded, recipe = _recorded_environment(run), recipes.load(str(run.recipe_file), overrides)
    environment.prepare(recipe.training.threads, recorded, recipe.mesh.devices)
    here = environment.record(recipe.layout)
    if recorded is None:
        write_json(run.environment, here)
    elif differing := environment.differences(recorded, here):
        text = "the same bits cannot be promised here: " + "; ".join(differing)
        say(text)
        run.record_event("environment", text=text)
    return recipe


def enter_to_read(run: RunDirectory, say: Say, overrides: Sequence[str] = ()) -> Recipe:
    """Prepares this process for what does not train: sampling, digests, evaluation, on one device or as `overrides`
    have it, whatever mesh the run has. Returns the recipe."""
    recorded, recipe = _recorded_environment(run), run.recipe_to_read(overrides)
    environment.prepare(recipe.training.threads, recorded, recipe.mesh.devices)
    if recorded is not None and (
        differing := environment.differences(recorded, environment.record(recorded["layout"]))
    ):
        say("the same bits cannot be promised here: " + "; ".join(differing))
    return recipe


def train_in_cluster(run: RunDirectory, recipe: Recipe, until: int, say: Say, cluster: Cluster) -> bool:
    """One process's part in a training of several: all take the same steps, the primary alone writes the run's files.

    The others go through the same motions on copies of the files that a run appends to.
    """
    share = -(-recipe.mesh.devices // cluster.processes) if cluster.processes else 1
    environment.prepare(recipe.training.threads, _recorded_environment(run), share)
    from palmetto.parallel import processes

    processes.join(cluster)
    if processes.is_primary():
        with run.locked():
            run.claim(recipe)
            build_tokens(run, recipe, say)
            processes.meet("tokens built")
            processes.meet("files copied")
            return train(run, until, say)
    processes.meet("tokens built")
    with tempfile.TemporaryDirectory() as folder:
        shadow = run.shadow(Path(folder))
        processes.meet("files copied")
        return train(shadow, until, lambda text: None)


def train(run: RunDirectory, until: int, say: Say, patience: float | None = None) -> bool:
    """Trains to step `until`, going on from what the directory holds; skipped where it is there already.

    patience: each pod is a cluster of its own, and lost when it gives no sign of life for so many seconds; None: all
    devices are in this process's cluster. Returns whether it got there; a signal stops it earlier.
    """
    if run.summary.exists() and read_json(run.summary)["steps"] == until and not _is_behind(run, until):
        say(f"trained to step {until} already")
        return True
    enter(run, say, [] if patience is None else ["mesh.pod=1"])
    from palmetto.parallel.schedules import filled
    from palmetto.training.loop import Loop

    if (stages := run.recipe.mesh.stage) > 1:
        for each in filled(run.recipe):
            say(f"pipeline of {stages} stages, {each.micro_batches} micro-batches from step {each.from_step:,}: each "
                f"stage is idle for {each.bubble:.1%} of the time")  # fmt: skip

    with Reporter("training", until, quiet=run.is_shadow) as reporter:
        if patience is None:
            return Loop(run, reporter).train(until)
        from palmetto.pods.execution import over_pods

        def tell(event: str, text: str, **fields: Any) -> None:
            run.record_event(event, text=text, **fields)
            reporter.message(text)

        with over_pods(run, tell, patience) as execution:
            return Loop(run, reporter, execution).train(until)


def verify(
    run: RunDirectory, start: int | None, end: int | None, say: Say, overrides: Sequence[str] = ()
) -> "tuple[int, Difference | None]":
    """Replays a run, on its own mesh or another; UserError for overrides of anything else. See training.verify."""
    for override in overrides:
        if override.partition("=")[0].partition(".")[0] != "mesh":
            raise UserError(f"{override}: a run is replayed with the values that it was trained with, but for its "
                            "mesh, as in mesh.data=2")  # fmt: skip
    recipe = enter(run, say, overrides)
    from palmetto.training.verify import verify

    with Reporter("verifying", len(read_json_lines(run.ledger)) if end is None else end) as reporter:
        return verify(run, recipe, start, end, reporter.step)


def write_samples(run: RunDirectory, say: Say) -> None:
    """samples.txt: how the model goes on from the beginnings of held-out windows."""
    inputs = {"digest": read_json(run.summary)["digest"]["parameters"]}
    if _complete(run, "samples", inputs):
        return
    enter_to_read(run, say)
    from palmetto.decoding.trained import TrainedModel, samples

    say("sampling")
    write_bytes(run.samples, text_bytes(samples(TrainedModel(run), run)))
    _finish(run, "samples", inputs, [run.samples])


def long_context(run: RunDirectory, times: int, sequences: int, say: Say) -> "list[Curve]":
    """The losses of the newest checkpoint by position, up to `times` its trained length."""
    recipe = enter_to_read(run, say)
    from palmetto.decoding.trained import restore
    from palmetto.evaluation.long_context import measure
    from palmetto.tokens.store import TokenStore

    state, _, _ = restore(run)
    store = TokenStore.open(run.validation_store, vocabulary_digest=Vocabulary.load(run.vocabulary).digest)
    return measure(recipe, state.parameters, store, times, sequences, say)


def write_report(run: RunDirectory, say: Say) -> None:
    """report.html, made anew each time: it is quick."""
    from palmetto.report.page import write

    write(run)
    say(f"report: {run.report}")


def _recorded_environment(run: RunDirectory) -> dict[str, Any] | None:
    return read_json(run.environment) if run.environment.exists() else None


def _is_behind(run: RunDirectory, until: int) -> bool:
    """Whether the newest checkpoint is not that of step `until`."""
    newest = max((d.parent.name for d in run.checkpoints.glob("*/manifest.json")), default="0")
    return int(newest) != until


def _stamp(run: RunDirectory, stage: str) -> Path:
    return run.stages / f"{stage}.json"


def _complete(run: RunDirectory, stage: str, inputs: dict[str, Any]) -> bool:
    if not _outputs_whole(run, stage):
        return False
    return bool(read_json(_stamp(run, stage))["inputs"] == _digest(inputs))


def _outputs_whole(run: RunDirectory, stage: str) -> bool:
    if not _stamp(run, stage).exists():
        return False
    outputs = read_json(_stamp(run, stage))["outputs"]
    return all((run.path / name).is_file() and sha256(run.path / name) == digest for name, digest in outputs.items())


def _finish(run: RunDirectory, stage: str, inputs: dict[str, Any], outputs: list[Path]) -> None:
    digests = {str(path.relative_to(run.path)): sha256(path) for path in outputs}
    write_json(_stamp(run, stage), {"inputs": _digest(inputs), "outputs": digests})


def _digest(inputs: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
