"""The directory of a run, with the paths of its files."""

import contextlib
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from palmetto.errors import UserError
from palmetto.files import locked, present, write_text
from palmetto.json_lines import JsonLines
from palmetto.recipe import Recipe, loading
from palmetto.recipe.mesh import AXES
from palmetto.runs.manifest import CheckpointDamaged, Manifest, read_manifest
from palmetto.runs.register import Register, completed, folder_name


class RunDirectory:
    """Holds the paths of the files of one run; each exists only once it has been written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe_file = path / "recipe.yaml"
        self.vocabulary = path / "vocabulary.model"
        self.train_store = path / "tokens" / "train.bin"
        self.validation_store = path / "tokens" / "validation.bin"
        self.stamps = path / "stages"
        self.environment = path / "environment.json"
        self.ledger = path / "ledger.jsonl"
        self.events = path / "events.jsonl"
        self.metrics = path / "metrics.jsonl"
        self.energy = path / "energy.jsonl"
        self.checkpoints = path / "checkpoints"
        self.summary = path / "summary.json"
        self.samples = path / "samples.txt"
        self.evaluation = path / "evaluation"
        """The folder that `palmetto eval` writes, unless it is given another."""
        self.evaluations = path / "evaluations"
        self.report = path / "report.html"
        self.is_shadow = False

    def shadow(self, path: Path) -> "RunDirectory":
        """Returns the same run with the files that training writes, except checkpoints, copied to `path`."""
        shadow = RunDirectory(self.path)
        for name in ("recipe_file", "environment", "ledger", "events", "metrics", "energy", "summary"):
            file: Path = getattr(self, name)
            setattr(shadow, name, path / file.name)
            if file.exists():
                shutil.copy(file, path)
        shadow.is_shadow = True
        return shadow

    @classmethod
    def existing(cls, path: Path) -> "RunDirectory":
        """Returns the run in a directory; raises UserError if it holds none."""
        run = cls(path)
        if not run.recipe_file.is_file():
            raise UserError(
                f"{path}: not a run directory (no recipe.yaml in it); `palmetto run RECIPE --run {path}` would make one"
            )
        return run

    @property
    def recipe(self) -> Recipe:
        """Returns the recipe in recipe.yaml."""
        return loading.load(str(self.recipe_file))

    def recipe_to_read(self, overrides: Sequence[str] = ()) -> Recipe:
        """Returns the recipe for sampling and evaluation, on one device or on those of the mesh in `overrides`.

        Raises UserError if they give an axis other than model and data more than one device.
        """
        recipe = loading.load(str(self.recipe_file), [*(f"mesh.{axis}=1" for axis in AXES), *overrides])
        for axis, size in recipe.mesh.sizes.items():
            if size > 1 and axis not in ("model", "data"):
                raise UserError(
                    f"mesh.{axis}={size}: a trained model runs on one device, or on those of mesh.model and mesh.data"
                )
        return recipe

    @property
    def begun(self) -> bool:
        """Returns whether training has taken a step in this directory."""
        has_lines = present(self.ledger) and self.ledger.stat().st_size > 0
        return has_lines or bool(completed(self.checkpoints) or Register(self.checkpoints).read())

    @property
    def ledger_lines(self) -> int:
        """Returns the number of lines in the ledger, without checking them."""
        return self.ledger.read_bytes().count(b"\n") if present(self.ledger) else 0

    @property
    def newest_manifest(self) -> Manifest | None:
        """Returns the manifest of the newest checkpoint whose manifest is intact, or None if there is none."""
        for step in reversed(completed(self.checkpoints)):
            with contextlib.suppress(CheckpointDamaged, FileNotFoundError):  # training may just have deleted it
                return read_manifest(self.checkpoints / folder_name(step) / "manifest.json", step)
        return None

    @property
    def imported(self) -> bool:
        """Returns whether the run was imported, so that it has no text and no tokens of its own."""
        manifest = self.newest_manifest
        return manifest is not None and manifest.step == 0 and not manifest.tokens

    def check(self, recipe: Recipe) -> None:
        """Raises UserError, which names the keys, if training has begun with a recipe of another identity.

        If recipe.yaml has been altered, the recipe recorded in the newest checkpoint is accepted as well.
        """
        if self.begun and (differences := recipe.obstacles(self.recipe)):
            manifest = self.newest_manifest
            if manifest is None or not recipe.continues(manifest.recipe):
                raise UserError(
                    f"{self.path} holds a run of another recipe: {'; '.join(differences)}. "
                    "Give the same values, or another directory with --run"
                )

    def claim(self, recipe: Recipe) -> None:
        """Records the recipe after all other checks have passed; raises UserError like `check`.

        Keys outside a recipe's identity may have changed, and recipe.yaml then gets their new values.
        """
        self.check(recipe)
        write_text(self.recipe_file, loading.dump(recipe))

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Returns a context that locks the directory; raises UserError if another process has locked it."""
        return locked(self.path)

    def record_event(self, event: str, **fields: Any) -> None:
        """Appends an event with its time (UTC) to events.jsonl."""
        log = JsonLines(self.events)
        log.append({"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": event, **fields})
        log.close()
