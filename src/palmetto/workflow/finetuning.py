"""The recipe of a fine-tuning: the base's vocabulary and model, a recipe of fine-tuning, and files of examples."""

from collections.abc import Sequence
from pathlib import Path

from palmetto.errors import UserError
from palmetto.recipe import Recipe, loading
from palmetto.recipe.finetuning import Finetuning
from palmetto.recipe.objectives import has_prefix
from palmetto.recipe.section import is_unicode
from palmetto.runs.directory import RunDirectory
from palmetto.runs.manifest import read_manifest
from palmetto.runs.register import completed, folder_name
from palmetto.training.origin import check_vocabulary

_MAY_CHANGE = (
    "model.positions.",
    "model.attention.",
    "model.activations ",
    "model.lora",
    "model.experts.capacity_factor ",
)
"""The keys of a model that fine-tuning may change, as far as they need no other weights (training/beginning.py)."""


def name(base: RunDirectory, recipe: str, overrides: Sequence[str]) -> str:
    """Returns the name of a fine-tuning, whatever checkpoint it begins with."""
    begun = {"base": "", "step": 0, "parameters": "", "data": []}
    return loading.finetune(recipe, base.recipe, begun, overrides).name


def begin(
    base: RunDirectory,
    step: int | None,
    recipe: str,
    data: Sequence[str],
    overrides: Sequence[str] = (),
    begun: Finetuning | None = None,
) -> Recipe:
    """Returns the recipe of a fine-tuning that begins with a checkpoint of `base`, by default the newest.

    data: files of examples, each a path or PATH=WEIGHT. begun: how the run began that is resumed, whose checkpoint of
    the base need not be there any more. Raises UserError if the base cannot be fine-tuned so.
    """
    check_vocabulary(base)
    theirs = base.recipe
    objective = theirs.training.objective
    if has_prefix(objective):
        raise UserError(
            f"{base.path}: trained with training.objective.name={objective.name}; expected causal, whose positions "
            "see only those before them"
        )
    if begun is None:
        chosen, parameters = _checkpoint(base, step)
    elif begun.step in completed(base.checkpoints) or Path(begun.base) != base.path.absolute():
        chosen, parameters = _checkpoint(base, begun.step)  # of another base it has another digest
    else:
        chosen, parameters = begun.step, begun.parameters
    start = {"base": str(base.path.absolute()), "step": chosen, "parameters": parameters, "data": _data_sets(data)}
    resolved = loading.finetune(recipe, theirs, start, overrides)
    if resolved.finetuning is None:
        raise UserError("finetuning=null: fine-tuning begins with a run; leave this key as it is")
    if pieces := len(resolved.finetuning.pieces):
        tokens = resolved.tokens.model_copy(update={"vocabulary_size": theirs.tokens.vocabulary_size + pieces})
        resolved = loading.validate(resolved.model_copy(update={"tokens": tokens}).model_dump())
    for difference in resolved.differences(theirs):
        larger = pieces > 0 and difference.startswith("tokens.vocabulary_size ")
        other = difference.startswith(("model.", "tokens.vocabulary")) and not difference.startswith(_MAY_CHANGE)
        if other and not larger:
            raise UserError(f"{difference}: expected what {base.path} was trained with")
    return resolved


def _checkpoint(base: RunDirectory, step: int | None) -> tuple[int, str]:
    """Returns the step of a checkpoint of the base, by default the newest, and the digest of its parameters."""
    steps = completed(base.checkpoints)
    if not steps:
        raise UserError(f"{base.checkpoints}: no complete checkpoint yet; `palmetto train` writes them")
    chosen = steps[-1] if step is None else step
    if chosen not in steps:
        raise UserError(f"--step {chosen}: no such checkpoint; there are {', '.join(map(str, steps))}")
    return chosen, read_manifest(base.checkpoints / folder_name(chosen) / "manifest.json", chosen).parameters


def _data_sets(data: Sequence[str]) -> list[dict[str, object]]:
    """Returns the files of examples; raises UserError if one is given twice."""
    found = [_data_set(each) for each in data]
    for place, each in enumerate(found):
        if any(each["path"] == other["path"] for other in found[:place]):
            raise UserError(
                f"--data {data[place]}: given twice; expected each file once, with a weight (FILE=WEIGHT) if its "
                "examples are to come more often"
            )
    return found


def _data_set(given: str) -> dict[str, object]:
    """Returns the path and the weight of FILE or FILE=WEIGHT; a file of that whole name has no weight."""
    path, equals, weight = given.rpartition("=")
    if not equals or Path(given).exists():
        path, weight = given, ""
    if not path or not is_unicode(path):
        raise UserError(f"--data {given!a}: expected FILE or FILE=WEIGHT")
    try:
        number = float(weight) if weight else None
    except ValueError:
        raise UserError(f"--data {given}: no such file, and {weight!r} is no weight; expected a number") from None
    return {"path": str(Path(path).expanduser().absolute()), "weight": number}
