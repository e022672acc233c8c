"""A small recipe, and the message of a refused one."""

import pytest

from palmetto.errors import UserError
from palmetto.recipe import loading

TINY = """
tokens: {vocabulary_size: 300, sequence_length: 16}
model: {layers: 2, d_model: 32, heads: 2}
training: {steps: 8, batch_size: 8, micro_batch: 2}
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("recipes") / "tiny.yaml"
    file.write_text(TINY)
    return str(file)


def refusal(recipe: str, *overrides: str) -> str:
    """Returns the message of the error, which is one line."""
    with pytest.raises(UserError) as caught:
        loading.load(recipe, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message
