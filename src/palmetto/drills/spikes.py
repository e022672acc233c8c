"""A real loss spike: a stretch of the text is rubbish."""

import hashlib
from typing import Any

import numpy as np

from palmetto.drills.report import Digests, PromiseBroken, Report
from palmetto.drills.workplace import Run, Workplace
from palmetto.files import read_json, write_json
from palmetto.recipe.training import Training
from palmetto.tokens import store
from palmetto.tokens.identity import store_digest
from palmetto.tokens.order import Order
from palmetto.training.ledger import Line

SPOILED = (31, 32)
"""Steps whose batches are rubbish: as many as make a spike (training.spikes.patience)."""

_BEFORE = SPOILED[0] - 1


def spike(place: Workplace, report: Report) -> None:
    """The rubbish is in the tokens, so that the run is a function of recipe, text and step as any other."""
    training = place.recipe.training
    report.do(f"train to step {training.steps}, undisturbed")
    undisturbed = place.run("undisturbed")
    undisturbed.train()
    report.do(f"the same, the text of steps {SPOILED[0]} and {SPOILED[1]} rubbish: its rarest pieces, at random")
    run = place.run("disturbed")
    spoil(run, place)
    run.train()
    events, lines = run.new_events(), run.lines()
    report.logged(events)
    for step, line, spoiled in zip(SPOILED, undisturbed.lines()[_BEFORE:], lines[_BEFORE:], strict=False):
        report.found(f"step {step}: loss {line.loss:.4f} undisturbed, {spoiled.loss:.4f} on rubbish")
    report.do("palmetto verify, which takes every step again")
    answer = run.verify()
    report.said([answer])

    report.compare({f"{each.name}, step {_BEFORE}": _before(each) for each in (undisturbed, run)})
    judge(report, training, lines, events, answer)


def judge(report: Report, training: Training, lines: list[Line], events: list[dict[str, Any]], answer: str) -> None:
    """Whether the run went back, how far, and over what; answer: what verify said."""
    report.check_same(f"disturbed, step {_BEFORE}", f"undisturbed, step {_BEFORE}")
    told = [event for event in events if event["event"] == "rollback"]
    rollbacks = [(event["onset"], event["target"], event["batches"]) for event in told]
    target, batches = max(0, SPOILED[0] - training.spikes.rewind), training.spikes.skip
    report.check(f"one rollback: from step {SPOILED[0]} to {target} (training.spikes.rewind), passing over {batches} "
                 "batches (training.spikes.skip)", rollbacks == [(SPOILED[0], target, batches)],
                 f"from, to, batches: {rollbacks}")  # fmt: skip
    rubbish = {line.batch for line in lines[_BEFORE : SPOILED[-1]]}
    again = [line.step for line in lines if line.attempt and line.batch in rubbish]
    report.check("no rubbish was read again", not again, f"by steps {again}")
    last = lines[-1].step if lines else 0
    report.check(f"training went on to step {training.steps}", last == training.steps, f"to step {last}")
    report.check(f"verify replayed the {len(lines)} steps of both attempts, bit for bit",
                 answer == f"verified: {len(lines)} steps, bit for bit", f"it said {answer!r}")  # fmt: skip


def spoil(run: Run, place: Workplace) -> None:
    """Has a run that has not begun read rubbish at the `SPOILED` steps, as if its text had held it."""
    training, opened = place.recipe.training, store.TokenStore.open(run.train_store)
    header, length = opened.header, opened.header.sequence_length
    size = place.recipe.tokens.vocabulary_size
    order = Order(opened.windows, training.batch_ramp, training.seed, training.epochs)
    tokens = np.array(opened.stretch(0, header.tokens))
    rarest = np.argsort(np.bincount(tokens, minlength=size), kind="stable")[:64]
    chance = np.random.default_rng(0)
    for window in np.concatenate([order.sequence_numbers(step) for step in SPOILED]):
        # Its first token is the last target of the window before it.
        tokens[window * length + 1 : (window + 1) * length] = chance.choice(rarest, length - 1)
    store.write(
        run.train_store,
        [tokens],
        vocabulary_size=size,
        sequence_length=length,
        documents=header.documents,
        vocabulary_digest=header.vocabulary_digest,
        source_fingerprint=header.source_fingerprint,
    )
    stamp = run.stamps / "tokens.json"
    made = read_json(stamp)
    made["outputs"][str(run.train_store.relative_to(run.path))] = store_digest(run.train_store)
    write_json(stamp, made)


def _before(run: Run) -> Digests:
    """Of the parameters before the first spoiled step, and of the ledger up to there."""
    parameters = next((line.parameters for line in run.lines() if line.step == _BEFORE), None)
    if parameters is None:
        raise PromiseBroken(f"{run.name}: a digest of the parameters at step {_BEFORE}? No: the ledger has none")
    lines = run.ledger.read_bytes().splitlines(keepends=True)[:_BEFORE]
    return {"parameters": parameters, "ledger": hashlib.sha256(b"".join(lines)).hexdigest()}
