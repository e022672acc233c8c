"""Serves a run on a Ray cluster: replicas of `palmetto serve` on several machines, behind one address.

    RUN=/shared/quickstart serve run examples.ray_serve:app

Every machine needs the run directory, and Ray with the extra `serve` (docs/serving.md).
"""

import os
from pathlib import Path
from typing import Any

from ray import serve


def replica() -> Any:
    """Returns the application of one replica, in the process that serves it."""
    from palmetto.runs.directory import RunDirectory
    from palmetto.workflow import entering

    run = RunDirectory(Path(os.environ["RUN"]))
    entering.enter_to_read(run, print)  # before JAX is imported
    from palmetto.decoding.limits import Limits
    from palmetto.serving.app import application
    from palmetto.serving.server import load
    from palmetto.serving.settings import Settings

    limits = Limits(rows=int(os.environ.get("ROWS", "64")), sequences=int(os.environ.get("ROWS", "64")))
    return application(load({run.path.resolve().name: run}, limits, Settings()))


@serve.deployment(num_replicas=int(os.environ.get("REPLICAS", "2")), max_ongoing_requests=256)
@serve.ingress(replica)
class Palmetto:
    """A replica; Ray starts as many as there should be, and again those that are lost."""


app = Palmetto.bind()
