"""The drills, by name, with the promises that they test."""

from collections.abc import Callable
from typing import NamedTuple

from palmetto.drills.kills import kill
from palmetto.drills.nans import nan
from palmetto.drills.pods import pod_loss
from palmetto.drills.report import Report
from palmetto.drills.spikes import spike
from palmetto.drills.storage import full_disk, torn_checkpoint
from palmetto.drills.tampering import ledger_tamper
from palmetto.drills.workplace import Workplace


class Drill(NamedTuple):
    """A promise and the function that tests it."""

    promise: str
    run: Callable[[Workplace, Report], None]
    """Injects the fault, reports what happens, and raises PromiseBroken if the promise is broken."""


DRILLS = {
    "nan": Drill("a batch that gives NaN changes no bit, is on the record, and training goes on", nan),
    "spike": Drill("a loss spike is rolled back, the batches around it are passed over, and verify replays it", spike),
    "kill": Drill("kill -9 at any instant changes no bit", kill),
    "pod-loss": Drill("pods may be killed or fall silent in any step, and come back; no bit is lost", pod_loss),
    "torn-checkpoint": Drill("a damaged checkpoint is named and set aside, and no bit is lost", torn_checkpoint),
    "full-disk": Drill("a full disk is reported in one line, harms nothing, and with room the run resumes", full_disk),
    "ledger-tamper": Drill("verify names the step of an altered ledger line, its chain mended or not", ledger_tamper),
}
