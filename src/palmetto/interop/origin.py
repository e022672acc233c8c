"""Describes a folder that is imported: the recipe, the logical matrices, and the vocabulary if it can be ours."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from palmetto.corpus.extras import need
from palmetto.errors import UserError
from palmetto.files import read_json
from palmetto.interop import catalogue, folder, rows, safetensors, tokenizer
from palmetto.interop.architecture import ALIASES, Architecture, size
from palmetto.interop.forms import Array
from palmetto.interop.targets import RECIPE, TARGETS, VOCABULARY
from palmetto.model.weights import weight_table
from palmetto.recipe import Recipe, loading
from palmetto.tokens import vocabularies
from palmetto.tokens.vocabulary import Vocabulary
from palmetto.tokens.wrapped import WrappedVocabulary, wrap


class Origin(NamedTuple):
    """Holds what is imported."""

    recipe: Recipe
    matrices: dict[str, Array]
    vocabulary: Vocabulary | str
    """The vocabulary, or why the folder's tokenizer cannot be one."""


def read(source: Path) -> Origin:
    """Reads a folder: an export of ours, or one of a class of transformers that is exact for a recipe.

    Raises UserError that names what of the folder a recipe cannot express, or what is missing.
    """
    if (source / folder.MARK).exists():
        folder.check_ours(source, f"{source}: altered since it was exported; expected an export as it was written")
        recipe = loading.load(str(source / RECIPE))
        target = read_json(source / folder.MARK).get("target")
        reading = TARGETS[target].read if isinstance(target, str) and target in TARGETS else None
        if reading is None:
            others = " or ".join(name for name, each in TARGETS.items() if each.read is not None)
            raise UserError(f"{source}: an export to {target}, which is not imported; expected one to {others}")
        return Origin(recipe, reading(source, recipe), vocabularies.load(source / VOCABULARY))
    config = _object(source / "config.json")
    if (adapter := source / "adapter_config.json").exists():
        raise UserError(f"{adapter}: an adapter; expected a folder of weights with which it is merged")
    architecture = _architecture(config, source)
    config = _with_own_keys(config, architecture, source)
    vocabulary = _vocabulary(source, {**architecture.defaults, **config})
    tokens = {
        "vocabulary": vocabulary.kind if isinstance(vocabulary, Vocabulary) else "bpe",
        "chat_template": _chat_template(source),
    }
    recipe = _recipe(config, architecture, source, tokens)
    return Origin(recipe, _matrices(source, architecture, recipe), vocabulary)


def _matrices(source: Path, architecture: Architecture, recipe: Recipe) -> dict[str, Array]:
    """Returns the logical matrices of a folder, float32 by name.

    Raises UserError for a tensor that is missing, is not finite, or would not come back bit for bit.
    """
    expected, table = architecture.rows(recipe.model), weight_table(recipe.model, recipe.model_vocabulary)
    found = architecture.full_names(safetensors.read(source, architecture.buffers))
    try:
        matrices = rows.matrices(expected, table, found)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    for tensor in rows.tensors(expected, table):
        values = found[tensor.name]
        if not np.isfinite(values).all():
            raise UserError(f"{source}: {tensor.name}: holds values that are not finite")
        again = tensor.form.there([matrices[name] for name in tensor.matrices])
        if again.astype(values.dtype).tobytes() != values.tobytes():  # -0.0 is not 0.0
            raise UserError(f"{source}: {tensor.name}: a recipe's weights cannot give it back bit for bit")
    return matrices


def _object(path: Path) -> dict[str, Any]:
    """Returns the object that a JSON file holds; raises UserError if it holds anything else."""
    found = read_json(path)
    if not isinstance(found, dict):
        raise UserError(f"{path}: expected an object, found {json.dumps(found)[:40]}")
    return found


def _architecture(config: Mapping[str, Any], source: Path) -> Architecture:
    names = config.get("architectures")
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
        raise UserError(f"{source}/config.json: architectures={json.dumps(names)[:40]}: expected a list of one name")
    known = {each.name: each for each in catalogue.STOCK if each.model is not None}
    if names[0] in catalogue.REFUSED:
        raise UserError(f"{source}/config.json: architectures={names[0]}: {catalogue.REFUSED[names[0]]}")
    if names[0] not in known:
        raise UserError(f"{source}/config.json: architectures={names[0]}: expected one of {', '.join(known)}")
    return known[names[0]]


def _with_own_keys(config: Mapping[str, Any], architecture: Architecture, source: Path) -> dict[str, Any]:
    """Returns a configuration with the class's own keys for their second names."""
    found = dict(config)
    for other, key in architecture.aliases.items():
        if config.get(other) is None:
            continue
        if config.get(key, config[other]) != config[other]:
            raise UserError(f"{source}/config.json: {other}={config[other]}: expected {config[key]}, as {key} says")
        found[key] = config[other]
    return found


def _chat_template(source: Path) -> str | None:
    """Returns the template of chats: that of a file of its own, or that of tokenizer_config.json, or None.

    Of several it is the one named "default".
    """
    file, settings = source / "chat_template.jinja", source / "tokenizer_config.json"
    try:
        found = (
            file.read_text("utf-8") if file.exists() else settings.exists() and _object(settings).get("chat_template")
        )
    except UnicodeDecodeError:
        raise UserError(f"{file}: expected text in UTF-8") from None
    if isinstance(found, list):
        named = [each for each in found if isinstance(each, dict) and each.get("name") == "default"]
        found = named[0].get("template") if named else found
    if not found:
        return None
    if not isinstance(found, str):
        raise UserError(f"{settings}: chat_template: expected a text, or a list with a template named default")
    return tokenizer.of_chats(found)


def _recipe(config: Mapping[str, Any], architecture: Architecture, source: Path, tokens: Mapping[str, Any]) -> Recipe:
    """Returns the recipe of a configuration: the one whose own configuration would say the same."""
    assert architecture.model is not None
    named = {key: ALIASES.get(value, value) if isinstance(value, str) else value for key, value in config.items()}
    given = {**architecture.defaults, **named}
    try:
        recipe = loading.validate(
            {
                "name": source.absolute().name,
                "tokens": {
                    **tokens,
                    "vocabulary_size": size(given, "vocab_size"),
                    "sequence_length": size(given, architecture.length),
                },
                "model": architecture.model(given),
                "training": {"steps": 1, "batch_size": 1},
            }
        )
    except KeyError as missing:
        raise UserError(f"{source}/config.json: lacks {missing.args[0]}") from None
    except UserError as error:
        file = "" if str(error).startswith("config.json") else "config.json: "
        raise UserError(f"{source}/{file}{error}") from None
    if obstacles := architecture.obstacles(recipe):
        raise UserError(f"{source}/config.json: {architecture.name} with {', '.join(obstacles)}")
    expected = architecture.config(recipe) | {"model_type": architecture.kind, "quantization_config": None}
    if given.get("layer_types"):
        kind = "full_attention" if recipe.model.attention.name == "full" else "sliding_attention"
        expected["layer_types"] = [kind] * recipe.model.layers
    for key, value in expected.items():
        if key not in given or given[key] == value or key.startswith(("rope_", "rotary_")):
            continue
        if given[key] is not None or key not in architecture.nullable:
            shown, values = (json.dumps(each)[:60] for each in (given[key], value))
            raise UserError(f"{source}/config.json: {key}={shown}: expected {values}, which recipes have")
    return recipe


def _vocabulary(source: Path, config: Mapping[str, Any]) -> Vocabulary | str:
    """Returns the vocabulary, or why there is none.

    It is ours if tokenizer.model is a lossless one with the model's ids, else one that wraps tokenizer.json.
    """
    beginning, ends = config.get("bos_token_id"), _ends(source, config)
    ours, problem = _ours(source / "tokenizer.model", config, ends)
    if ours is not None:
        return ours
    if beginning is not None:
        _check_ids([beginning], source / "config.json", "bos_token_id", beginning)
    if not ends:
        return "its config.json and generation_config.json name no eos_token_id"
    end, *further = ends
    if type(size := config.get("vocab_size")) is not int:
        return "its config.json has no number as vocab_size"
    if (file := source / "tokenizer.json").exists():
        need("tokenizers", "interop")
    try:
        begins = end if beginning is None else beginning
        wrapped = wrap(read_json(file), beginning=begins, end=end, size=size, further_ends=further)
        return WrappedVocabulary(wrapped, str(file))
    except UserError as error:
        return f"{problem}; {error}" if problem else str(error)


def _ends(source: Path, config: Mapping[str, Any]) -> list[int]:
    """Returns the ids that end an answer, each once: those of config.json, then those of generation_config.json.

    Raises UserError for one that is no id.
    """
    file, ends = source / "generation_config.json", list[int]()
    generation = _object(file) if file.exists() else {}
    for path, values in ((source / "config.json", config), (file, generation)):
        given = values.get("eos_token_id")
        ids = given if isinstance(given, list) else [] if given is None else [given]
        _check_ids(ids, path, "eos_token_id", given)
        ends += ids
    return list(dict.fromkeys(ends))


def _check_ids(ids: Sequence[Any], file: Path, key: str, given: Any) -> None:
    """Raises UserError unless these are ids, which a key of a file gives."""
    if any(type(id) is not int or id < 0 for id in ids):
        raise UserError(f"{file}: {key}={json.dumps(given)[:40]}: expected an id")


def _ours(file: Path, config: Mapping[str, Any], ends: Sequence[int]) -> tuple[Vocabulary | None, str]:
    """Returns the vocabulary of a sentencepiece model that keeps our promises, or None and why there is none.

    ends: the ids that end an answer, of which such a vocabulary has one.
    """
    if not file.exists():
        return None, ""
    try:
        vocabulary = Vocabulary.load(file)
    except UserError as error:
        return None, str(error)
    has = {"vocab_size": vocabulary.size, "bos_token_id": vocabulary.beginning}
    for key, value in has.items():
        if config.get(key, value) != value:
            return None, f"{file}: has {value} for {key}, and config.json {json.dumps(config[key])[:40]}"
    if other := [end for end in ends if end != vocabulary.eod]:
        return None, f"{file}: has {vocabulary.eod} for eos_token_id, and its configurations {other[0]}"
    return vocabulary, ""
