"""The target huggingface: a folder that transformers opens, as the class that is exact for the recipe."""

import shutil
from pathlib import Path
from typing import Any

from palmetto.files import write_json, write_text
from palmetto.interop import card, catalogue, logical, safetensors, tokenizer
from palmetto.interop.architecture import Architecture
from palmetto.interop.architectures.palmetto import CODE, PALMETTO
from palmetto.interop.forms import Array
from palmetto.interop.rows import matrices, tensors
from palmetto.interop.source import Source
from palmetto.model.weights import weight_table
from palmetto.recipe import Recipe
from palmetto.tokens.vocabulary import Vocabulary

EXACT = "palmetto/exact.safetensors"
"""The file of the weights that the class's tensors do not give back to the bit."""


def write(source: Source, folder: Path, dtype: str, shard_bytes: int = safetensors.SHARD_BYTES) -> None:
    """Writes weights, configurations, tokenizer and model card into a folder.

    Raises UserError if no class of transformers is exact for the recipe.
    """
    recipe, vocabulary = source.recipe, source.vocabulary
    architecture = catalogue.choose(recipe)
    if recipe.tokens.vocabulary == "unigram":
        _copy(tokenizer.CODE, folder)
    else:
        write_json(folder / "tokenizer.json", tokenizer.tokenizer(vocabulary))
    write_json(folder / "tokenizer_config.json", tokenizer.settings(vocabulary, recipe))
    write_json(folder / "config.json", configuration(source, architecture, dtype))
    ends = {"bos_token_id": vocabulary.beginning, "eos_token_id": _ends(vocabulary), "pad_token_id": vocabulary.eod}
    write_json(folder / "generation_config.json", ends)
    if architecture is PALMETTO:
        _copy(CODE, folder)
    planned = tensors(architecture.rows(recipe.model), source.table)
    safetensors.write(folder, planned, lambda number: source.values(planned[number]), dtype, shard_bytes)
    computed = [name for tensor in planned if not tensor.form.exact for name in tensor.matrices]
    if computed and dtype == "float32":
        exact = [tensor for tensor in tensors(logical.rows(source.table), source.table) if tensor.name in computed]
        (folder / EXACT).parent.mkdir()
        safetensors.write_file(folder / EXACT, exact, map(source.values, exact), dtype)
    trusted = "with `trust_remote_code=True` " if architecture is PALMETTO else ""
    by_code = " with `trust_remote_code=True`" if recipe.tokens.vocabulary == "unigram" else ""
    note = (
        f"`AutoModelForCausalLM` opens it {trusted}as `{architecture.name}`. `AutoTokenizer`{by_code} gives the ids of "
        "the run's vocabulary, with what stands in front of a text. Lone surrogates, which Palmetto encodes, are no "
        "text there."
    )
    write_text(folder / "README.md", card.card(source, "transformers", f"{architecture.name} in {dtype}", note))


def _copy(module: str, folder: Path) -> None:
    """Copies a module of peers/ beside the weights."""
    shutil.copyfile(Path(__file__).parent / "peers" / f"{module}.py", folder / f"{module}.py")


def read(folder: Path, recipe: Recipe) -> dict[str, Array]:
    """Returns the logical matrices of an export of a recipe, float32 by name."""
    table = weight_table(recipe.model, recipe.model_vocabulary)
    found = matrices(catalogue.choose(recipe).rows(recipe.model), table, safetensors.read(folder))
    return found | (safetensors.read_file(folder / EXACT) if (folder / EXACT).exists() else {})


def configuration(source: Source, architecture: Architecture, dtype: str) -> dict[str, Any]:
    """Returns the contents of config.json."""
    vocabulary = source.vocabulary
    return {
        "architectures": [architecture.name],
        "model_type": architecture.kind,
        **architecture.config(source.recipe),
        "vocab_size": source.recipe.model_vocabulary,
        "bos_token_id": vocabulary.beginning,
        "eos_token_id": _ends(vocabulary),
        "pad_token_id": None,
        "dtype": dtype,
    }


def _ends(vocabulary: Vocabulary) -> int | list[int]:
    """Returns the ids that end an answer as both configurations have them: one, or a list with [eod] first."""
    return list(vocabulary.ends) if len(vocabulary.ends) > 1 else vocabulary.eod
