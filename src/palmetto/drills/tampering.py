"""The drill `ledger-tamper`: someone alters the ledger."""

import json
import shutil

from palmetto.drills.report import Digests, Report
from palmetto.drills.workplace import Run, Workplace
from palmetto.files import sha256, write_bytes
from palmetto.training.ledger import Ledger

STEP = 12
"""The step whose line is altered."""

_STEPS = 20


def ledger_tamper(place: Workplace, report: Report) -> None:
    """Changes one byte of the ledger, then forges it with a correct chain of hashes."""
    report.do(f"train to step {_STEPS}; palmetto verify")
    run = place.run("intact")
    run.train("--until", str(_STEPS))
    report.quote([run.verify()])
    altered, forged = place.copy(run, "altered"), place.copy(run, "forged")
    was, became = alter_byte(altered)
    report.do(f"change one byte of the ledger, in the loss of step {STEP}: {was} to {became}; palmetto verify")
    to_the_byte = altered.verify(expect=1)
    report.quote([to_the_byte])
    honest, claimed = forge(forged)
    report.do(
        f"forge the ledger: step {STEP} claims a loss of {claimed:.4f} instead of {honest:.4f}, the chain of hashes is "
        "mended, the checkpoints, which record some hashes, are deleted; palmetto verify"
    )
    to_the_forgery = forged.verify(expect=1)
    report.quote([to_the_forgery])

    report.compare({each.name: _digests(each) for each in (run, altered, forged)})
    judge(report, to_the_byte, to_the_forgery, honest, claimed)


def judge(report: Report, to_the_byte: str, to_the_forgery: str, honest: float, claimed: float) -> None:
    """Checks the answers of `palmetto verify` to both changes. honest, claimed: the true and the forged loss.

    The chain of hashes shows the changed byte; only a replay of the step shows the forged loss.
    """
    report.check(
        f"verify named the ledger's line of step {STEP} for the changed byte",
        to_the_byte.startswith(f"step {STEP}: ledger line: "),
        f"it said {to_the_byte!r}",
    )
    report.check(
        f"verify named the loss of step {STEP} for the forged one, and what it was",
        to_the_forgery == f"step {STEP}: loss differs: recorded {claimed}, replayed {honest}",
        f"it said {to_the_forgery!r}",
    )


def alter_byte(run: Run) -> tuple[str, str]:
    """Changes a digit of the loss of `STEP`; returns the loss before and after, as written in the ledger."""
    lines = run.ledger.read_bytes().splitlines(keepends=True)
    line = lines[STEP - 1]
    place = line.index(b'"loss": "0x1.') + len(b'"loss": "0x1.')
    lines[STEP - 1] = line[:place] + (b"1" if line[place : place + 1] == b"0" else b"0") + line[place + 1 :]
    write_bytes(run.ledger, b"".join(lines))
    was, became = (json.loads(each)["loss"] for each in (line, lines[STEP - 1]))
    return was, became


def forge(run: Run) -> tuple[float, float]:
    """Rewrites the ledger with a lower loss at `STEP` and a correct chain; returns the loss before and after."""
    lines = run.lines()
    honest = lines[STEP - 1]
    lines[STEP - 1] = honest._replace(loss=honest.loss - 1)
    run.ledger.unlink()
    shutil.rmtree(run.checkpoints)
    ledger = Ledger.open(run.ledger)
    for line in lines:
        ledger.append(line)
    ledger.close()
    return honest.loss, lines[STEP - 1].loss


def _digests(run: Run) -> Digests:
    """Returns the digest of the ledger, and the last hash in its chain."""
    return {"ledger": sha256(run.ledger), "chain": json.loads(run.ledger.read_bytes().splitlines()[-1])["chain"]}
