"""Runs a drill: a small training with an injected fault, which shows whether a promise holds."""

import shutil
import signal
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

from palmetto.drills.catalogue import DRILLS, Drill
from palmetto.drills.report import PromiseBroken, Report, Undecided
from palmetto.drills.workplace import Workplace
from palmetto.errors import UserError, nearest
from palmetto.files import write_text
from palmetto.host import signals


def run(name: str | None, tell: Callable[[str], None]) -> Report:
    """Runs a drill in a temporary directory, and returns its report; `tell` receives the story line by line.

    The directory is kept if the promise was broken. If the machine was too busy to tell, the report is undecided.
    Raises UserError, which lists the drills, if there is none of this name. SIGTERM and SIGHUP raise KeyboardInterrupt,
    as SIGINT does; the processes of the drill are then ended, and its directory is removed.
    """
    if name not in DRILLS:
        asked = "which drill?" if name is None else f"drill {name!r}: no such drill{nearest(name, DRILLS)};"
        raise UserError(f"{asked} expected one of {', '.join(DRILLS)}")
    drill = DRILLS[name]
    report = Report(name, drill.promise, tell)
    broken = undecided = None
    with signals.handled_by(signal.default_int_handler):
        folder = Path(tempfile.mkdtemp(prefix=f"palmetto-drill-{name}-")).resolve()
        try:
            broken = _what_broke(drill, Workplace.make(folder), report)
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
    """Runs the drill; returns in one line what broke the promise, or None if it holds."""
    try:
        drill.run(place, report)
    except PromiseBroken as broken:
        return " ".join(str(broken).split())
    except Undecided:
        raise
    except Exception as error:  # an unforeseen failure counts as a broken promise
        write_text(place.folder / "traceback.txt", traceback.format_exc())
        return f"{type(error).__name__}: {' '.join(str(error).split())}; more is in traceback.txt"
    return None
