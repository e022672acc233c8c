"""Drills: a small training with a fault injected, and whether the promise held; so that users see it for themselves."""

import shutil
import signal
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from palmetto.drills.kills import kill
from palmetto.drills.nans import nan
from palmetto.drills.pods import pod_loss
from palmetto.drills.report import PromiseBroken, Report, Undecided
from palmetto.drills.spikes import spike
from palmetto.drills.storage import full_disk, torn_checkpoint
from palmetto.drills.tampering import ledger_tamper
from palmetto.drills.workplace import Workplace
from palmetto.errors import UserError, nearest
from palmetto.files import write_text
from palmetto.host import signals


class Drill(NamedTuple):
    """A promise and what puts it to the test: injects the fault, reports what came of it, raises PromiseBroken."""

    promise: str
    run: Callable[[Workplace, Report], None]


DRILLS = {
    "nan": Drill("a batch that gives NaN changes no bit, is on the record, and training goes on", nan),
    "spike": Drill("a loss spike is rolled back, the batches around it are passed over, and verify replays it", spike),
    "kill": Drill("kill -9 at any instant changes no bit", kill),
    "pod-loss": Drill("pods may be killed or fall silent in any step, and come back; no bit is lost", pod_loss),
    "torn-checkpoint": Drill("a damaged checkpoint is named and set aside, and no bit is lost", torn_checkpoint),
    "full-disk": Drill("a full disk is told in one line, harms nothing, and with room the run goes on", full_disk),
    "ledger-tamper": Drill("verify names the step of an altered ledger line, its chain mended or not", ledger_tamper),
}


def run(name: str | None, tell: Callable[[str], None]) -> Report:
    """Runs a drill in a temporary directory, which is kept if the promise was broken; `tell` gets the story, in lines.

    Where the machine was too busy to tell, the report is undecided.

    UserError lists the drills where `name` is none of them. SIGTERM and SIGHUP are KeyboardInterrupts as SIGINT is:
    what the drill has started is ended, and its directory removed.
    """
    if name not in DRILLS:
        asked = "which drill?" if name is None else f"drill {name!r}: no such drill{nearest(name, DRILLS)};"
        raise UserError(f"{asked} expected one of {', '.join(DRILLS)}")
    drill = DRILLS[name]
    report = Report(name, drill.promise, tell)
    broken = undecided = None
    with signals.heard_by(signal.default_int_handler):
        folder = Path(tempfile.mkdtemp(prefix=f"palmetto-drill-{name}-")).resolve()
        try:
            broken = _what_broke(drill, Workplace(folder), report)
        except Undecided as late:
            undecided = " ".join(str(late).split())
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    if broken is None:
        shutil.rmtree(folder)
    report.conclude(broken and f"{broken} (kept for a look: {folder})", undecided)
    return report


def _what_broke(drill: Drill, place: Workplace, report: Report) -> str | None:
    """Runs the drill; what broke the promise, in one line, or None."""
    try:
        drill.run(place, report)
    except PromiseBroken as broken:
        return " ".join(str(broken).split())
    except Undecided:
        raise
    except Exception as error:  # a run may leave what nobody has thought of: that must not pass, nor be lost
        write_text(place.folder / "traceback.txt", traceback.format_exc())
        return f"{type(error).__name__}: {' '.join(str(error).split())}; more is in traceback.txt"
    return None
