"""Sampling of continuations of held-out windows by the trained model."""

from palmetto.files import text_bytes, write_bytes
from palmetto.runs import stamps
from palmetto.runs.directory import RunDirectory
from palmetto.runs.files import read_summary
from palmetto.workflow.entering import enter_to_read
from palmetto.workflow.progress import Say


def write_samples(run: RunDirectory, say: Say) -> None:
    """Writes samples.txt, unless it exists and was made with the newest parameters."""
    summary = read_summary(run.summary)
    assert summary is not None, "training has written it"
    inputs = {"digest": summary["digest"]["parameters"]}
    if stamps.is_complete(run, "samples", inputs):
        return
    enter_to_read(run, say)
    from palmetto.decoding.trained import TrainedModel, samples

    say("sampling")
    write_bytes(run.samples, text_bytes(samples(TrainedModel(run), run)))
    stamps.finish(run, "samples", inputs, [run.samples])
