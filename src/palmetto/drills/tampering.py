"""A ledger that someone has altered."""

import json
import shutil

from palmetto.drills.report import Digests, Report
from palmetto.drills.workplace import Run, Workplace
from palmetto.files import sha256, write_bytes
from palmetto.training.ledger import Ledger

STEP = 12
"""The one whose line is altered."""

_STEPS = 20


def ledger_tamper(place: Workplace, report: Report) -> None:
    """First one byte, then by a forger who knows how the ledger is made."""
    report.do(f"train to step {_STEPS}; palmetto verify")
    run = place.run("intact")
    run.train("--until", str(_STEPS))
    report.said([run.verify()])
    altered, forged = place.copy(run, "altered"), place.copy(run, "forged")
    was, became = alter_byte(altered)
    report.do(f"change one byte of the ledger, in the loss of step {STEP}: {was} to {became}; palmetto verify")
    to_the_byte = altered.verify(expect=1)
    report.said([to_the_byte])
    honest, claimed = forge(forged)
    report.do(f"forge the ledger: step {STEP} claims a loss of {claimed:.4f} instead of {honest:.4f}, the chain of "
              "hashes is mended, the checkpoints, which hold some, are deleted; palmetto verify")  # fmt: skip
    to_the_forgery = forged.verify(expect=1)
    report.said([to_the_forgery])

    report.compare({each.name: _digests(each) for each in (run, altered, forged)})
    judge(report, to_the_byte, to_the_forgery, honest, claimed)


def judge(report: Report, to_the_byte: str, to_the_forgery: str, honest: float, claimed: float) -> None:
    """What verify said to each; the loss as it was, and as the forger has it. The one is found by the chain of hashes,
    the other only by taking the step again."""
    report.check(f"verify named the ledger's line of step {STEP} for the changed byte",
                 to_the_byte.startswith(f"step {STEP}: ledger line: "), f"it said {to_the_byte!r}")  # fmt: skip
    report.check(f"verify named the loss of step {STEP} for the forged one, and what it was",
                 to_the_forgery == f"step {STEP}: loss differs: recorded {claimed}, replayed {honest}",
                 f"it said {to_the_forgery!r}")  # fmt: skip


def alter_byte(run: Run) -> tuple[str, str]:
    """Changes a digit of the loss of `STEP`; returns the loss before and after, as it is written."""
    lines = run.ledger.read_bytes().splitlines(keepends=True)
    line = lines[STEP - 1]
    place = line.index(b'"loss": "0x1.') + len(b'"loss": "0x1.')
    lines[STEP - 1] = line[:place] + (b"1" if line[place : place + 1] == b"0" else b"0") + line[place + 1 :]
    write_bytes(run.ledger, b"".join(lines))
    was, became = (json.loads(each)["loss"] for each in (line, lines[STEP - 1]))
    return was, became


def forge(run: Run) -> tuple[float, float]:
    """Writes the ledger anew with a lower loss at `STEP`, its chain whole; returns the loss before and after."""
    lines = run.lines()
    honest = lines[STEP - 1]
    lines[STEP - 1] = honest._replace(loss=honest.loss - 1)
    run.ledger.unlink()
    shutil.rmtree(run.checkpoints)
    ledger = Ledger(run.ledger)
    for line in lines:
        ledger.append(line)
    ledger.close()
    return honest.loss, lines[STEP - 1].loss


def _digests(run: Run) -> Digests:
    """Of the ledger, and the last hash of its chain as it is written there."""
    return {"ledger": sha256(run.ledger), "chain": json.loads(run.ledger.read_bytes().splitlines()[-1])["chain"]}
