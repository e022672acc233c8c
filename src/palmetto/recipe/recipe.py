"""A run as one typed, frozen, validated value. Everything a run does follows from its recipe and its source."""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from palmetto.recipe.corpus import Corpus
from palmetto.recipe.mesh import Mesh, check_mesh
from palmetto.recipe.model import Model
from palmetto.recipe.objectives import CausalObjective, example_length, extra_tokens
from palmetto.recipe.parts import Attention
from palmetto.recipe.section import Section, impossible, is_unicode
from palmetto.recipe.training import Cosine, Training


class Tokens(Section):
    """The vocabulary and the windows that a model is trained on."""

    vocabulary: Literal["unigram", "bpe"] = "bpe"
    vocabulary_size: Annotated[int, Field(ge=260, le=2**24)]
    sequence_length: Annotated[int, Field(ge=2, le=2**24)]


class Recipe(Section):
    """A whole run."""

    name: str
    corpus: Corpus = Corpus()
    tokens: Tokens
    model: Model
    training: Training
    mesh: Mesh = Mesh()

    @property
    def model_vocabulary(self) -> int:
        """Rows of the embedding: the vocabulary, and what the objective adds to it."""
        return self.tokens.vocabulary_size + extra_tokens(self.training.objective, self.tokens.sequence_length)

    @property
    def model_length(self) -> int:
        """Positions that the model sees of a training example."""
        return example_length(self.training.objective, self.tokens.sequence_length)

    @model_validator(mode="after")
    def _check(self) -> "Recipe":
        if not is_unicode(self.name):
            raise impossible("name", repr(self.name), "has a lone surrogate, which no file can hold: expected text")
        if self.mesh.expert > 1 and self.model.experts is None:
            expected = "must divide model.experts.count, and the model has no experts: 1 would do"
            raise impossible("mesh.expert", self.mesh.expert, expected)
        check_mesh(self.mesh, self._divided(), self.training.batch_size, self.training.micro_batch)
        positions, attention, objective = self.model.positions, self.model.attention, self.training.objective
        if positions.end is not None and positions.end < self.model_length:
            expected = f"must cover the positions of an example: {self.model_length} would do"
            raise impossible("model.positions.length", positions.end, expected)
        if isinstance(objective, CausalObjective):
            return self
        if not attention.takes_prefix:
            fits = " or ".join(name for name, kind in Attention.kinds().items() if kind.takes_prefix)
            raise impossible(
                "model.attention.name",
                attention.name,
                f"the objective {objective.name} has a prefix whose positions see each other: {fits} would do",
            )
        positions.check_prefix(objective.name)
        capacity = self.model.experts and self.model.experts.capacity_factor
        if capacity is not None:
            raise impossible(
                "model.experts.capacity_factor",
                capacity,
                "in a prefix no order of tokens can decide who is over capacity: null (dropless) would do",
            )
        return self

    def _divided(self) -> list[tuple[str, str, int]]:
        """What each axis of the mesh divides: the axis, what it is called in a recipe, and its size."""
        model = self.model
        layers = f"the periods of {model.period} layers in model.layers={model.layers}"
        parts = [
            ("stage", layers if model.period > 1 else "model.layers", model.layers // model.period),
            ("sequence", "the positions of an example", self.model_length),
            ("model", "model.d_model", model.d_model),
            ("model", "model.heads", model.heads),
            ("model", "model.d_ff", model.feedforward_size),
        ]
        if self.mesh.zero:
            rows = "tokens.vocabulary_size" if self.model_vocabulary == self.tokens.vocabulary_size else "the embedding"
            parts += [("data", "model.d_model", model.d_model), ("data", rows, self.model_vocabulary)]
        if model.experts:
            parts.append(("expert", "model.experts.count", model.experts.count))
            parts.append(("model", "model.experts.d_ff", model.expert_size))
        return parts

    @property
    def identity(self) -> dict[str, Any]:
        """The values that change bits, by dotted key. Two recipes that agree in these are the same run.

        Where the files lie, how often they are written, and how long the run lasts are not among them, unless a
        schedule depends on the length. (More epochs are another identity, but a run may go on with them.) (The text
        itself enters through the token store's digests.) Nor is the mesh, since a run can go on on any other; what of
        it changes bits is a matter of the environment's record.
        """
        values = flatten(self.model_dump())
        schedule = self.training.schedule
        if not (isinstance(schedule, Cosine) and schedule.decay_steps is None):
            del values["training.steps"]
        for key in _OUTSIDE_IDENTITY:
            values.pop(key, None)
        return {key: value for key, value in values.items() if not key.startswith("mesh.")}

    @property
    def layout(self) -> dict[str, int | str]:
        """What of the mesh bits depend on: all but data and pods, and these too where the run is not elastic.

        A run with experts is elastic only where nothing is rounded to half precision or computed again, and one with an
        external memory is not: in the compiled programs of different layouts these were not the same
        (docs/determinism.md).
        """
        mesh, model, training = self.mesh, self.model, self.training
        plain = model.activations == "float32" and training.rematerialize == "nothing"
        alike = (plain or model.experts is None) and model.attention.same_in_all_programs
        elastic = training.reproducible == "elastic" and alike
        own = [axis for axis, size in mesh.sizes.items() if size > 1 and not (elastic and axis in ("pod", "data"))]
        keys = own + ["zero"] * ("data" in own) + ["schedule"] * ("stage" in own)
        return {key: getattr(mesh, key) for key in keys}

    @property
    def digest(self) -> str:
        """SHA-256 of the identity."""
        return _digest(self.identity)

    def continues(self, digest: str) -> bool:
        """Returns whether `digest` is that of this recipe with as many epochs or fewer.

        A run may be given more: the order of the epochs it has does not depend on how many follow.
        """
        identity, epochs = self.identity, self.training.epochs
        fewer = range(1, min(epochs, _MOST_EPOCHS))
        return any(_digest(identity | {"training.epochs": n}) == digest for n in (epochs, *fewer))

    def obstacles(self, begun: "Recipe") -> list[str]:
        """The differences, as `differences` has them, for which a run begun by `begun` cannot go on by this recipe."""
        with_its_epochs = begun.training.model_copy(update={"epochs": self.training.epochs})
        may_rise = self.training.epochs >= begun.training.epochs
        return self.differences(begun.model_copy(update={"training": with_its_epochs}) if may_rise else begun)

    def differences(self, other: "Recipe") -> list[str]:
        """The dotted keys of the identity in which two recipes differ, each with both values."""
        ours, theirs = self.identity, other.identity
        return [
            f"{key} {theirs.get(key)!r} → {ours.get(key)!r}"
            for key in sorted(ours.keys() | theirs.keys())
            if ours.get(key) != theirs.get(key)
        ]


_OUTSIDE_IDENTITY = (
    "name",
    "corpus.source",
    "corpus.build.root",
    "training.checkpoint_every",
    "training.keep_last",
    "training.keep_every",
    "training.evaluate_every",
    "training.validation_windows",
    "training.digest_every",
    "training.peak_flops",
)


_MOST_EPOCHS = 1 << 16
"""A run may have begun with fewer epochs than these, and been given any number."""


def _digest(identity: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping as one of dotted keys; a batch ramp, whose keys are steps, stays one value."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and all(isinstance(k, str) for k in value):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
