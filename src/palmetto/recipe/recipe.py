"""A recipe holds all settings of a run. Everything that a run computes follows from its recipe and its text."""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from palmetto.recipe.corpus import Corpus
from palmetto.recipe.energy import Energy
from palmetto.recipe.finetuning import Finetuning
from palmetto.recipe.mesh import Mesh, check_mesh
from palmetto.recipe.model import Model
from palmetto.recipe.objectives import PreferencesObjective, example_length, extra_tokens, has_prefix, side_by_side
from palmetto.recipe.parts import Attention
from palmetto.recipe.section import Section, impossible, is_unicode
from palmetto.recipe.training import Training


class Tokens(Section):
    """The vocabulary, and the length of the windows of tokens."""

    vocabulary: Literal["unigram", "bpe", "wrapped"] = "bpe"
    """The kind of vocabulary; "wrapped" is that of an imported run, and is never trained."""
    vocabulary_size: Annotated[int, Field(ge=260, le=2**24)]
    sequence_length: Annotated[int, Field(ge=2, le=2**24)]
    chat_template: str | None = None

    @model_validator(mode="after")
    def _check(self) -> "Tokens":
        if self.chat_template is not None:
            from palmetto.recipe.chat_template import ChatTemplate  # which few commands need

            ChatTemplate(self.chat_template, "tokens.chat_template")
        return self


class Recipe(Section):
    """All settings of a run."""

    name: str
    corpus: Corpus = Corpus()
    tokens: Tokens
    model: Model
    training: Training
    mesh: Mesh = Mesh()
    finetuning: Finetuning | None = None
    energy: Energy = Energy()

    @property
    def model_vocabulary(self) -> int:
        """The number of rows of the embedding: the vocabulary size and the ids that the objective adds."""
        return self.tokens.vocabulary_size + extra_tokens(self.training.objective, self.tokens.sequence_length)

    @property
    def model_length(self) -> int:
        """The number of positions that the model sees of a training example."""
        return example_length(self.training.objective, self.tokens.sequence_length)

    @model_validator(mode="after")
    def _check(self) -> "Recipe":
        if not is_unicode(self.name):
            raise impossible("name", repr(self.name), "has a lone surrogate, which no file can hold: expected text")
        if self.mesh.expert > 1 and self.model.experts is None:
            must = "must divide model.experts.count, and the model has no experts: 1 would do"
            raise impossible("mesh.expert", self.mesh.expert, must)
        check_mesh(self.mesh, self._divided(), self.training.batch_size, self.training.micro_batch)
        self._check_finetuning()
        positions, attention, objective = self.model.positions, self.model.attention, self.training.objective
        if positions.end is not None and positions.end < self.model_length:
            must = f"must cover the positions of an example: {self.model_length} would do"
            raise impossible("model.positions.length", positions.end, must)
        if not has_prefix(objective):
            return self
        if not attention.takes_prefix:
            fits = " or ".join(name for name, kind in Attention.kinds().items() if kind.takes_prefix)
            prefix = f"the objective {objective.name} has a prefix whose positions see each other"
            raise impossible("model.attention.name", attention.name, f"{prefix}: {fits} would do")
        positions.check_prefix(objective.name)
        capacity = self.model.experts and self.model.experts.capacity_factor
        if capacity is not None:
            prefix = "in a prefix, the order of tokens cannot decide which are over capacity"
            raise impossible("model.experts.capacity_factor", capacity, f"{prefix}: null (dropless) would do")
        return self

    def _check_finetuning(self) -> None:
        """Raises UserError for a mesh or a model that adapters, preferences or examples side by side cannot have."""
        objective, mesh = self.training.objective, self.mesh
        if self.model.lora and mesh.data > 1 and mesh.zero:
            raise impossible("mesh.zero", mesh.zero, "adapters are on every device as a whole: 0 would do")
        for axis in ("sequence", "stage"):
            if isinstance(objective, PreferencesObjective) and mesh.sizes[axis] > 1:
                must = "a device computes whole rows of preferences: 1 would do"
                raise impossible(f"mesh.{axis}", mesh.sizes[axis], must)
        capacity = self.model.experts and self.model.experts.capacity_factor
        if side_by_side(objective) and capacity is not None:
            must = "examples in one row would take an expert's room from each other: null (dropless) would do"
            raise impossible("model.experts.capacity_factor", capacity, must)

    def _divided(self) -> list[tuple[str, str, int]]:
        """Returns each dimension that an axis of the mesh divides, as (axis, name in a recipe, size)."""
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
        """The values on which bits depend, by dotted key. Recipes that agree in them describe the same run.

        Not included are the location of files, how often they are written, figures of energy, and the number of steps,
        unless the rate depends on it. Parts that are `_OPTIONAL` are included where there are any, so that runs without
        them keep their digests. The text itself counts through the digests of the token stores. The mesh is not
        included, since a run can resume on another one; the environment's record holds the part of it on which bits
        depend (`mesh_record`).
        """
        values = flatten(self.model_dump())
        if not self.training.end_shapes_rate:
            del values["training.steps"]
        for key in _OPTIONAL:
            if values.get(key, 0) is None:
                del values[key]
        for key in _OUTSIDE_IDENTITY:
            values.pop(key, None)
        return {key: value for key, value in values.items() if not key.startswith(_SECTIONS_OUTSIDE_IDENTITY)}

    @property
    def mesh_record(self) -> dict[str, int | str]:
        """The part of the mesh on which bits depend: all axes but `data` and `pod`, and these too in a run that is not
        elastic."""
        mesh, elastic = self.mesh, not self.inelastic
        own = [axis for axis, size in mesh.sizes.items() if size > 1 and not (elastic and axis in ("pod", "data"))]
        keys = own + ["zero"] * ("data" in own) + ["schedule"] * ("stage" in own)
        return {key: getattr(mesh, key) for key in keys}

    @property
    def inelastic(self) -> str:
        """The settings for which bits depend on data and pods too; empty in an elastic run.

        A run with experts is elastic only without half precision and without rematerialization, and a run with an
        external memory never is: there, the compiled programs of different layouts gave different bits
        (docs/determinism.md).
        """
        model, training = self.model, self.training
        if training.reproducible != "elastic":
            return f"training.reproducible={training.reproducible}"
        if not model.attention.same_in_all_programs:
            return f"model.attention={model.attention.name}"
        if model.experts is not None and model.activations != "float32":
            return f"model.experts and model.activations={model.activations}"
        if model.experts is not None and training.rematerialize != "nothing":
            return f"model.experts and training.rematerialize={training.rematerialize}"
        return ""

    @property
    def digest(self) -> str:
        """The SHA-256 of the identity, in hex."""
        return _digest(self.identity)

    def continues(self, digest: str) -> bool:
        """Returns whether `digest` is that of this recipe with as many epochs or fewer.

        A run may be given more epochs, since the order within an epoch does not depend on how many follow.
        """
        identity, epochs = self.identity, self.training.epochs
        fewer = range(1, min(epochs, _MOST_EPOCHS))
        return any(_digest(identity | {"training.epochs": n}) == digest for n in (epochs, *fewer))

    def obstacles(self, begun: "Recipe") -> list[str]:
        """Returns the differences because of which a run that `begun` describes cannot resume with this recipe."""
        with_its_epochs = begun.training.model_copy(update={"epochs": self.training.epochs})
        may_rise = self.training.epochs >= begun.training.epochs
        return self.differences(begun.model_copy(update={"training": with_its_epochs}) if may_rise else begun)

    def differences(self, other: "Recipe") -> list[str]:
        """Returns the keys of the identity in which two recipes differ, as "key theirs → ours"."""
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
    "finetuning.base",
    "finetuning.data",
)

_SECTIONS_OUTSIDE_IDENTITY = ("mesh.", "training.evaluations", "energy.")

_OPTIONAL = (
    "tokens.chat_template",
    "training.schedule.cooldown",
    "training.dropout",
    "training.frozen",
    "model.lora",
    "finetuning",
)
"""Keys of parts that came later than the first digests, which are part of the identity where they are not None."""


_MOST_EPOCHS = 1 << 16
"""The largest number of epochs before an increase that `continues` recognizes."""


def _digest(identity: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens a nested mapping to dotted keys. A batch ramp, whose keys are steps, stays one value."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and all(isinstance(k, str) for k in value):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
