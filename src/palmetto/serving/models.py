"""A model as the server holds it: its vocabulary, and the engine that runs its newest checkpoint."""

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

from palmetto.decoding.drafting import Drafting
from palmetto.decoding.grammar import Grammars
from palmetto.decoding.limits import Limits
from palmetto.decoding.text import Pieces
from palmetto.decoding.trained import TrainedModel
from palmetto.model.layout import Arranged
from palmetto.recipe.chat_template import ChatTemplate
from palmetto.recipe.model import Weights
from palmetto.recipe.objectives import has_prefix
from palmetto.runs.directory import RunDirectory
from palmetto.serving.aside import in_thread
from palmetto.serving.metrics import Meter
from palmetto.serving.worker import Worker
from palmetto.tokens.prompts import Prompts

log = logging.getLogger("palmetto.serving")


class Current(NamedTuple):
    """Holds what answers requests now."""

    worker: Worker
    fingerprint: str
    """A digest of all that the bits of an answer depend on besides the request."""
    step: int
    weights: Arranged


class Adapter(NamedTuple):
    """Names a run of adapters as a model, and the model that they adapt."""

    name: str
    base: "Served"


Follow = Callable[[str, int, Iterable[object]], Iterable[object]]
"""Yields the results of a part of the work with this name and this many results, and may show how many are done."""


class Served:
    """Serves one run. Requests go to the worker of the newest checkpoint; older workers finish what they have."""

    def __init__(
        self,
        run: RunDirectory,
        limits: Limits,
        meter: Meter,
        template: str | None,
        overrides: Sequence[str],
        drafting: Drafting,
        weights: Weights | None,
        adapter: "Adapter | None" = None,
        follow: Follow | None = None,
    ) -> None:
        """Loads the newest checkpoint of a run, and compiles its step, which `follow` may show.

        template: that of chats, None for the recipe's. overrides, weights: as TrainedModel takes them. adapter: the
        name of a run of adapters and its base, with which it shares the other weights; None for other runs.
        """
        self.name = run.path.resolve().name if adapter is None else adapter.name
        self._base: Arranged | None = None if adapter is None else adapter.base.current.weights
        """The weights that adapters share, which stay when their model takes over newer ones."""
        self.recipe = run.recipe
        self.limits = limits
        self.created = int(run.recipe_file.stat().st_mtime)
        self._run, self._meter = run, meter
        self._overrides, self._drafting, self._weights = overrides, drafting, weights
        trained = TrainedModel(run, overrides, weights=weights, base=self._base)
        self.vocabulary, self.pieces = trained.vocabulary, Pieces(trained.vocabulary)
        given = (run.recipe.tokens.chat_template, "tokens.chat_template")
        source, option = given if template is None else (template, "--chat-template")
        self.template = ChatTemplate(source, option, trained.vocabulary.specials)
        self.prompts = Prompts.of(run.recipe, trained.vocabulary)
        self.longest = limits.positions(trained.model)
        self.current: Current = self._ready(trained, follow)

    @cached_property
    def grammars(self) -> Grammars:
        """Returns the object that makes constraints for the vocabulary."""
        return Grammars(self.vocabulary, self.pieces)

    async def follow(self, seconds: float) -> None:
        """Takes over newer checkpoints for ever, checking for one every `seconds` seconds."""
        while True:
            await asyncio.sleep(seconds)
            try:
                manifest = self._run.newest_manifest
                if manifest is not None and manifest.step > self.current.step:
                    await self._replace()
            except Exception as error:  # the old checkpoint still serves
                log.warning(json.dumps({"event": "checkpoint refused", "model": self.name, "error": str(error)}))

    async def _replace(self) -> None:
        """Serves the newest checkpoint; what the old one has begun, it finishes."""
        before, self.current = self.current, await in_thread(self._newest)
        log.info(json.dumps({"event": "checkpoint", "model": self.name, "step": self.current.step}))
        await before.worker.retire()

    def _newest(self) -> Current:
        return self._ready(TrainedModel(self._run, self._overrides, weights=self._weights, base=self._base))

    def _ready(self, trained: TrainedModel, follow: Follow | None = None) -> Current:
        """Returns what answers requests with a checkpoint, once all that they can need is compiled."""
        engine = trained.engine(self.limits, self._drafting.draft(trained, self.limits))
        causal = not has_prefix(self.recipe.training.objective)
        programs = engine.programs(prefix=0 if causal else engine.longest)
        compiled = (program() for program in programs)
        for _ in compiled if follow is None else follow(f"compiling {self.name}", len(programs), compiled):
            pass
        depends = f"{trained.digest} {engine.fingerprint}"
        fingerprint = f"fp_{hashlib.sha256(depends.encode()).hexdigest()[:16]}"
        return Current(Worker(engine, self._meter), fingerprint, trained.step, trained.arranged)
