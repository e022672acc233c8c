"""Refuses settings that are valid but make no sense, such as a warm-up longer than the run.

They are checked when a run begins, and not when a recipe is read, so that a run that has begun with them can resume.
"""

import unicodedata

from palmetto.errors import UserError
from palmetto.recipe import Recipe
from palmetto.recipe.corpus import Build
from palmetto.recipe.objectives import PreferencesObjective
from palmetto.recipe.section import impossible
from palmetto.recipe.training import Cosine, InverseSqrt, Training

_MOST_THREADS = 1024
_LONGEST_NAME = 200
LEAST_SECTION = 64
"""The smallest section that a recipe may ask for, in bytes."""


def check(recipe: Recipe) -> None:
    """Raises UserError, with the key, its value and a usual value, if a setting makes no sense."""
    corpus = recipe.corpus
    if corpus.validation_share > 0.5:
        raise impossible(
            "corpus.validation_share",
            corpus.validation_share,
            "more would be held out than trained on: at most 0.5, and 0.02 is usual",
        )
    if corpus.section_bytes < LEAST_SECTION:
        raise impossible(
            "corpus.section_bytes",
            corpus.section_bytes,
            f"sections would be no text any more: at least {LEAST_SECTION}, and 65536 is usual",
        )
    if corpus.build is not None:
        check_build(corpus.build)
    _check_training(recipe.training)
    if isinstance(recipe.training.objective, PreferencesObjective):
        if recipe.finetuning is None:
            name = recipe.training.objective.name
            raise impossible("training.objective.name", name, "is relative to a base, as `palmetto finetune` has one")
        if recipe.training.z_loss:
            raise impossible("training.z_loss", recipe.training.z_loss, "preferences have none: 0 would do")


def check_build(build: Build) -> None:
    """Raises UserError, like `check`, for the settings of a corpus."""
    filters, duplicates = build.filters, build.duplicates
    if filters.minimum_words > filters.maximum_words:
        raise impossible(
            "corpus.build.filters.minimum_words",
            filters.minimum_words,
            f"no text would be left, as corpus.build.filters.maximum_words={filters.maximum_words}: 50 is usual",
        )
    for kind, share, usual in (("near", duplicates.near, 0.8), ("code", duplicates.code, 0.9)):
        if share == 0:
            raise impossible(
                f"corpus.build.duplicates.{kind}",
                share,
                f"any two documents would be duplicates: null keeps them all, and {usual} is usual",
            )


def check_name(name: str, option: str) -> None:
    """Raises UserError if a recipe's name cannot be a folder's name; `option` is the option that gives another."""
    if fault := _fault_of(name):
        raise UserError(
            f"name={name[:_LONGEST_NAME]!r}: {fault}, and the directory has this name: expected a name, as in "
            f"name=my-run, or a directory with {option}"
        )


def _fault_of(name: str) -> str:
    if not name:
        return "is empty"
    if "/" in name or name in (".", ".."):
        return "is a path"
    if len(name.encode(errors="surrogatepass")) > _LONGEST_NAME:
        return f"has more than {_LONGEST_NAME} bytes"
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        return "has characters that are no text"
    return ""


def _check_training(training: Training) -> None:
    schedule = training.schedule
    if training.threads > _MOST_THREADS:
        raise impossible(
            "training.threads",
            training.threads,
            f"XLA would start as many threads in every process: at most {_MOST_THREADS}, and 8 is usual",
        )
    if isinstance(schedule, InverseSqrt):
        return
    if schedule.warmup > training.steps:
        raise impossible(
            "training.schedule.warmup",
            schedule.warmup,
            "the warm-up would be longer than the run, "
            f"training.steps={training.steps}; expected one such as {training.steps // 20}",
        )
    end, key = training.steps, "training.steps"
    if isinstance(schedule, Cosine) and schedule.decay_steps is not None:
        end, key = schedule.decay_steps, "training.schedule.decay_steps"
    if isinstance(schedule, Cosine) and schedule.warmup and schedule.warmup >= end:
        raise impossible(
            "training.schedule.warmup",
            schedule.warmup,
            f"the rate would have fallen before it has risen, by {key}={end}: fewer steps would do",
        )
    before = training.steps_before_cooldown
    if schedule.cooldown and schedule.warmup > before:
        raise impossible(
            "training.schedule.cooldown.share",
            schedule.cooldown.share,
            f"the cool-down would begin after step {before}, within the warm-up, "
            f"training.schedule.warmup={schedule.warmup}: {_share_after(schedule.warmup, training.steps)}",
        )


def _share_after(warmup: int, steps: int) -> str:
    """Returns a share for a cool-down that begins after the warm-up, rounded down, or what else to do."""
    share = (steps - warmup) * 100 // steps / 100
    return f"{share} would do" if share else "a shorter warm-up would do"
