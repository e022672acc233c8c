"""The target safetensors: the logical weights under Palmetto's names, for every recipe."""

from pathlib import Path

from palmetto.files import write_text
from palmetto.interop import card, safetensors
from palmetto.interop.forms import Array
from palmetto.interop.rows import Row, matrices, tensors
from palmetto.interop.source import Source
from palmetto.model.weights import Table, weight_table
from palmetto.recipe import Recipe


def rows(table: Table) -> list[Row]:
    """Returns a row for each weight, with the names of checkpoints: q.003, expert_up.001.007."""
    numbers = ("", ".{layer:03d}", ".{layer:03d}.{expert:03d}")
    return [Row(name + numbers[weight.stack], (name,)) for name, weight in table.items()]


def write(source: Source, folder: Path, dtype: str, shard_bytes: int = safetensors.SHARD_BYTES) -> None:
    """Writes the weights and a model card into a folder."""
    planned = tensors(rows(source.table), source.table)
    safetensors.write(folder, planned, lambda number: source.values(planned[number]), dtype, shard_bytes)
    note = "The tensors are Palmetto's logical weights, under the names and shapes of its checkpoints."
    write_text(folder / "README.md", card.card(source, "palmetto", f"logical weights in {dtype}", note))


def read(folder: Path, recipe: Recipe) -> dict[str, Array]:
    """Returns the logical matrices of an export of a recipe, float32 by name."""
    table = weight_table(recipe.model, recipe.model_vocabulary)
    return matrices(rows(table), table, safetensors.read(folder))
