"""The drills `torn-checkpoint` and `full-disk`: storage fails."""

import errno
import os
import resource
from pathlib import Path
from typing import Any

from palmetto.drills.report import PromiseBroken, Report
from palmetto.drills.workplace import Run, Workplace

_PIECE, _NEXT = 25, 30
"""The step to which the disturbed run is trained first, and the step of the next checkpoint."""

_LIMIT = 64 * 1024
"""The largest size of a file on the full disk, in bytes. The largest file of a checkpoint is larger."""


def torn_checkpoint(place: Workplace, report: Report) -> None:
    """Cuts the largest file of the newest checkpoint in half."""
    undisturbed, run = _undisturbed(place, report), _piece(place, report)
    whole = run.whole_checkpoints()
    if len(whole) < 2:
        raise PromiseBroken(f"two checkpoints by step {_PIECE}? No: {whole}")
    before, newest = whole[-2:]
    arrays = run.checkpoints / f"{newest:08d}" / "arrays"
    file = max((path for path in arrays.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    size = file.stat().st_size
    report.do(f"cut the largest file of checkpoint {newest} from {size:,} to {size // 2:,} bytes")
    os.truncate(file, size // 2)
    report.do("the same command, to its end")
    run.train()
    events = run.new_events()
    report.quote_events(events)

    report.compare({each.name: each.digests() for each in (undisturbed, run)})
    judge_torn_checkpoint(report, events, file.relative_to(place.folder), before, [*run.checkpoints.glob("damaged-*")])


def judge_torn_checkpoint(
    report: Report, events: list[dict[str, Any]], file: Path, before: int, aside: list[Path]
) -> None:
    """Checks the promise. file: the file that was cut. before: the step of the checkpoint before it. aside: the
    checkpoints that were set aside."""
    named = [event["text"] for event in events if event["event"] == "damaged checkpoint"]
    report.check("the file that was cut is named", len(named) == 1 and named[0].startswith(f"{file}: "), f"{named}")
    damaged = f"damaged-{file.parts[2]}"
    claim = f"its checkpoint is set aside as {damaged}"
    report.check(claim, [path.name for path in aside] == [damaged], f"set aside: {aside}")
    used = [event["checkpoint"] for event in events if event["event"] == "resume"]
    report.check(f"checkpoint {before}, the one before it, is used", used == [before], f"used: {used}")
    report.check_same("disturbed", "undisturbed")


def full_disk(place: Workplace, report: Report) -> None:
    """Limits the size of files instead of filling a disk; writing fails in the same places."""
    undisturbed, run = _undisturbed(place, report), _piece(place, report)
    report.do(f"the same command, no file larger than {_LIMIT // 1024} KiB: the next checkpoint does not fit")
    limits = (_LIMIT, _LIMIT)
    error = run.train(
        expect=2,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits),
        # Otherwise an incomplete program would be left in the cache of compiled programs.
        environment={"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1e9"},
    ).err
    report.quote_events(run.new_events())
    report.quote(error.splitlines()[-1:])
    whole, lines = run.whole_checkpoints(), run.line_count()
    report.do("palmetto verify, on what the full disk left")
    answer = run.verify()
    report.quote([answer])
    report.do("the same command with room again, to its end")
    run.train()
    report.quote_events(run.new_events())

    report.compare({each.name: each.digests() for each in (undisturbed, run)})
    judge_full_disk(report, error, whole, lines, answer)


def judge_full_disk(report: Report, error: str, whole: list[int], lines: int, answer: str) -> None:
    """Checks the promise. error: the run's standard error. whole: the checkpoints that it left. lines: the lines of its
    ledger. answer: the answer of `palmetto verify`.
    """
    told = [line for line in error.splitlines() if line.startswith("palmetto: ") or "Traceback" in line]
    claim = "one line reports it, with exit code 2"
    report.check(claim, len(told) == 1 and error.endswith(f"{told[0]}\n"), f"{told}")
    report.check(
        f"it names checkpoint {_NEXT} and why it was not written",
        f"checkpoints/{_NEXT:08d}: the checkpoint could not be written" in told[0]
        and os.strerror(errno.EFBIG) in told[0],
        told[0],
    )
    report.check(f"checkpoint {_PIECE} stayed the newest", whole[-1:] == [_PIECE], f"{whole}")
    report.check(f"the ledger has at least the {_NEXT} steps to that checkpoint", lines >= _NEXT, f"{lines} steps")
    report.check("all of it verifies", answer == f"verified: {lines} steps, bit for bit", f"it said {answer!r}")
    report.check_same("disturbed", "undisturbed")


def _undisturbed(place: Workplace, report: Report) -> Run:
    report.do(f"train to step {place.recipe.training.steps}, undisturbed")
    run = place.run("undisturbed")
    run.train()
    return run


def _piece(place: Workplace, report: Report) -> Run:
    report.do(f"train another run of the same to step {_PIECE}")
    run = place.run("disturbed")
    run.train("--until", str(_PIECE))
    return run
