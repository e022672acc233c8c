"""Values are read by the core schema of YAML 1.2, not by version 1.1."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from palmetto.errors import UserError
from palmetto.recipe import Recipe, core_schema, loading

RECIPE = """
tokens: {vocabulary_size: 300, sequence_length: 16}
model: {layers: 2, d_model: 32, heads: 2}
training: {steps: 8, batch_size: 8, micro_batch: 2}
"""


def load(folder: Path, *overrides: str) -> Recipe:
    file = folder / "tiny.yaml"
    file.write_text(RECIPE)
    return loading.load(str(file), overrides)


def message(folder: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load(folder, *overrides)
    return str(caught.value)


# The core schema's own forms (YAML 1.2.2, section 10.3.2), and one beyond it: 1_000.
VALUES: dict[str, Any] = (
    {"null": None, "NULL": None, "~": None, "": None, "true": True, "False": False, "TRUE": True}
    | {"0": 0, "010": 10, "09": 9, "-019": -19, "+12": 12, "0o7": 7, "0o17": 15, "0xff": 255}
    | {"0.": 0.0, "-.5": -0.5, "1e-2": 0.01, "1e3": 1e3, "+12e03": 12e3, "-2E+05": -2e5, "010.5": 10.5}
    | {"-.inf": float("-inf"), "+.Inf": float("inf"), ".INF": float("inf")}
    | {"1_000": 1000, "1_0.5": 10.5}
)
WORDS = [
    *["1:30", "190:20:30.15", "2024-02-30", "2024-01-01", "2001-12-14t21:59:43.10-05:00", "1.2.3", "_1", "1_", "1e"],
    *["no", "No", "yes", "ON", "off", "y", "True!", "nullable", "0b11", "0o8", "0x", "=", "<<", "٣", ".", "+", "-.nan"],
]


@pytest.mark.parametrize(("text", "value"), [*VALUES.items(), *((word, word) for word in WORDS)])
def test_plain_text_has_the_value_of_the_schema(text: str, value: Any) -> None:
    found = core_schema.parse(text, "here")
    assert found == value
    assert isinstance(found, type(value))


@given(st.integers(-(10**30), 10**30), st.integers(0, 5))
def test_a_decimal_number_may_be_padded_with_zeros(number: int, zeros: int) -> None:
    padded = f"{'-' * (number < 0)}{'0' * zeros}{abs(number)}"
    assert core_schema.parse(padded, "here") == number


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x85"), max_size=12))
def test_text_is_dumped_and_parsed_unchanged(text: str) -> None:
    assert core_schema.parse(core_schema.dump({"x": text}), "here") == {"x": text}


@pytest.mark.parametrize("text", ["no", "on", "1:30", "010", "09", "0o17", "2024-01-01", "1_000", "=", "<<", "1e5"])
def test_yaml_1_1_reads_dumped_text_as_text(text: str) -> None:
    assert yaml.safe_load(core_schema.dump({"x": text})) == {"x": text}


@pytest.mark.parametrize("name", ["09", "08", "0o17"])
def test_an_unquoted_number_is_text_where_text_is_expected(tmp_path: Path, name: str) -> None:
    """Version 1.1 read these as text, and a recipe file may be called 09.yaml."""
    assert load(tmp_path, f"name={name}", f"corpus.source={name}").name == name
    assert load(tmp_path, f"corpus.source={name}").corpus.source == name


@pytest.mark.parametrize(("word", "value"), [("no", False), ("Off", False), ("yes", True), ("ON", True)])
def test_a_boolean_may_be_a_word(tmp_path: Path, word: str, value: bool) -> None:
    assert load(tmp_path, f"model.qk_norm={word}").model.qk_norm is value


def test_norwegian_is_a_language(tmp_path: Path) -> None:
    recipe = load(tmp_path, "corpus.build={sources: {x: {paths: [a], language: no}}, languages: [no, nb]}")
    assert recipe.corpus.build is not None
    assert recipe.corpus.build.sources["x"].language == "no"
    assert recipe.corpus.build.languages == ("no", "nb")


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("corpus.build={sources: {x: {paths: [a], language: true}}}", "quote it, as in language: 'true'"),
        ("corpus.build={sources: {x: {paths: [a], text: [1]}}}", "quote it, as in text: '1'"),
        ("name=2024", "name=2024: input should be a valid string; to have it as text, quote it, as in name: '2024'"),
    ],
)
def test_the_message_says_how_to_quote_text(tmp_path: Path, override: str, hint: str) -> None:
    assert hint in message(tmp_path, override)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("training.steps=1:30", "training.steps='1:30': input should be a valid integer"),
        ("training.steps=0b11", "training.steps='0b11': input should be a valid integer"),
        ("training.steps=2024-02-30", "training.steps='2024-02-30': input should be a valid integer"),
        (f"training.steps={'9' * 5000}", "a number of 5000 digits"),
        (f"training.batch_size.{'9' * 5000}=8", "batch_size is a value, not a section"),
        ("training.batch_size.²=8", "batch_size is a value, not a section"),
        ("name=!!timestamp 2024-02-30", "could not determine a constructor"),
        ("training.steps=!!int eight", "'eight' is not of the type int"),
        ("tokens={true: 1}", "True cannot be a key"),
    ],
)
def test_an_invalid_value_is_refused_by_key(tmp_path: Path, override: str, says: str) -> None:
    assert says in message(tmp_path, override)


@pytest.mark.parametrize("text", ["[" * 500 + "]" * 500, "{a: " * 500 + "1" + "}" * 500, "- " * 500 + "1"])
def test_deep_nesting_is_refused(tmp_path: Path, text: str) -> None:
    assert "not YAML: nested more than 32 deep" in message(tmp_path, f"model={text}")


def test_the_message_for_a_million_aliases_is_short(tmp_path: Path) -> None:
    levels = ["&x0 [x, x, x, x, x, x, x, x]", *(f"&x{n} [{', '.join([f'*x{n - 1}'] * 8)}]" for n in range(1, 20))]
    said = message(tmp_path, f"model=[{', '.join(levels)}]")
    assert said.startswith("model=[")
    assert len(said) < 20_000
