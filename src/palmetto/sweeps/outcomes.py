"""Reads what has become of one of several runs."""

from typing import Literal, NamedTuple

import numpy as np

from palmetto.errors import UserError
from palmetto.sweeps.children import Failures, Member
from palmetto.training import condition
from palmetto.training.report import record
from palmetto.training.report.record import Validations

Status = Literal["done", "failed", "waiting"]


class Outcome(NamedTuple):
    """Holds what has become of a run so far."""

    status: Status
    reason: str
    """The reason why it failed, in one line, or an empty string."""
    steps: int
    """The number of steps on the live path."""
    validations: Validations
    digest: str | None
    """The SHA-256 of the parameters at the end of a finished run."""


def of(member: Member, failures: Failures) -> Outcome:
    """Returns the present outcome of a run; a damaged run, and one with a final loss that is no number, has failed."""
    run, nothing = member.run, Validations(np.empty(0), np.empty(0))
    found, reason = None, failures.get(run.path, "")
    try:
        found = record.read(run) if run.recipe_file.exists() else None
    except UserError as error:
        reason = reason or str(error)
    validations, summary = found.validations if found else nothing, condition.summary(run)
    finished = found is not None and member.finished
    if finished and not np.isfinite(validations.loss[-1:]).all():
        finished, reason = False, f"the validation loss is {validations.loss[-1]}"
    return Outcome(
        status="failed" if reason else "done" if finished else "waiting",
        reason=reason,
        steps=found.last_step if found else 0,
        validations=validations,
        digest=summary["digest"]["parameters"] if finished and summary else None,
    )
