"""The drill `spike`: rubbish in the text causes a loss spike."""

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
"""The steps whose batches are rubbish, as many as count as a spike (training.spikes.patience)."""

_BEFORE = SPOILED[0] - 1


def spike(place: Workplace, report: Report) -> None:
    """Trains a run with rubbish in its tokens, so that the run still depends on recipe, text and step only."""
    training = place.recipe.training
    report.do(f"train to step {training.steps}, undisturbed")
    undisturbed = place.run("undisturbed")
    undisturbed.train()
    report.do(f"the same, the text of steps {SPOILED[0]} and {SPOILED[1]} rubbish: its rarest pieces, at random")
    run = place.run("disturbed")
    spoil(run, place)
    run.train()
    events, lines = run.new_events(), run.lines()
    report.quote_events(events)
    for step, line, spoiled in zip(SPOILED, undisturbed.lines()[_BEFORE:], lines[_BEFORE:], strict=False):
        report.found(f"step {step}: loss {line.loss:.4f} undisturbed, {spoiled.loss:.4f} on rubbish")
    report.do("palmetto verify, which takes every step again")
    answer = run.verify()
    report.quote([answer])

    report.compare({f"{each.name}, step {_BEFORE}": _before(each) for each in (undisturbed, run)})
    judge(report, training, lines, events, answer)


def judge(report: Report, training: Training, lines: list[Line], events: list[dict[str, Any]], answer: str) -> None:
    """Checks where the run went back to and which batches it skipped. answer: the answer of `palmetto verify`."""
    report.check_same(f"disturbed, step {_BEFORE}", f"undisturbed, step {_BEFORE}")
    told = [event for event in events if event["event"] == "rollback"]
    rollbacks = [(event["onset"], event["target"], event["batches"]) for event in told]
    target, batches = max(0, SPOILED[0] - training.spikes.rewind), training.spikes.skip
    report.check(
        f"one rollback: from step {SPOILED[0]} to {target} (training.spikes.rewind), passing over {batches} batches "
        "(training.spikes.skip)",
        rollbacks == [(SPOILED[0], target, batches)],
        f"from, to, batches: {rollbacks}",
    )
    rubbish = {line.batch for line in lines[_BEFORE : SPOILED[-1]]}
    again = [line.step for line in lines if line.attempt and line.batch in rubbish]
    report.check("no rubbish was read again", not again, f"by steps {again}")
    last = lines[-1].step if lines else 0
    report.check(f"training went on to step {training.steps}", last == training.steps, f"to step {last}")
    report.check(
        f"verify replayed the {len(lines)} steps of both attempts, bit for bit",
        answer == f"verified: {len(lines)} steps, bit for bit",
        f"it said {answer!r}",
    )


def spoil(run: Run, place: Workplace) -> None:
    """Writes rubbish into the tokens of a run, before it begins, at the windows of the `SPOILED` steps."""
    training, opened = place.recipe.training, store.TokenStore.open(run.train_store)
    header, length = opened.header, opened.header.sequence_length
    size = place.recipe.tokens.vocabulary_size
    order = Order(opened.windows, training.batch_ramp, training.seed, training.epochs)
    tokens = np.array(opened.stretch(0, header.tokens))
    rarest = np.argsort(np.bincount(tokens, minlength=size), kind="stable")[:64]
    chance = np.random.default_rng(0)
    for window in np.concatenate([order.sequence_numbers(step) for step in SPOILED]):
        # The first token stays, since it is also the last target of the window before.
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
    """Returns the digests of the parameters before the first spoiled step, and of the ledger up to it."""
    parameters = next((line.parameters for line in run.lines() if line.step == _BEFORE), None)
    if parameters is None:
        raise PromiseBroken(f"{run.name}: a digest of the parameters at step {_BEFORE}? No: the ledger has none")
    lines = run.ledger.read_bytes().splitlines(keepends=True)[:_BEFORE]
    return {"parameters": parameters, "ledger": hashlib.sha256(b"".join(lines)).hexdigest()}
