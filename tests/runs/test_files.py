"""The readers of a run directory's JSON files accept valid contents and refuse others by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmetto.errors import UserError
from palmetto.files import write_json
from palmetto.runs import files as run_files

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
known_keys = st.sampled_from(["event", "step", "attempt", "loss", "seconds", "steps", "digest", "inputs", "outputs"])
values = json_values | st.dictionaries(known_keys, json_values | st.sampled_from(["validation", "rollback"]))

READERS: list[Callable[[Path], Any]] = [
    run_files.read_events,
    run_files.read_metrics,
    run_files.read_environment,
    run_files.read_summary,
    run_files.read_stamp,
    run_files.read_completed,
    run_files.read_texts,
]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files") / "file.json"


def refusal(reader: Callable[[Path], Any], file: Path) -> str:
    """Returns the message with which a reader refuses a file, or an empty string if it accepts it."""
    try:
        reader(file)
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("reader", READERS)
@given(value=values)
def test_any_json_is_accepted_or_refused_by_file(file: Path, reader: Callable[[Path], Any], value: object) -> None:
    file.write_text(json.dumps(value) + "\n")
    said = refusal(reader, file)
    assert not said or said.startswith(f"{file}: ")
    assert "\n" not in said


@pytest.mark.parametrize("reader", [run_files.read_metrics, run_files.read_summary])
@pytest.mark.parametrize("data", [b"{\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n", b"9" * 5000 + b"\n"])
def test_invalid_json_is_refused_by_file(file: Path, reader: Callable[[Path], Any], data: bytes) -> None:
    file.write_bytes(data)
    assert refusal(reader, file).startswith(f"{file}: ")


@pytest.mark.parametrize("reader", READERS)
def test_a_missing_file_is_empty(tmp_path: Path, reader: Callable[[Path], Any]) -> None:
    assert reader(tmp_path / "none.json") in (None, [])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("[]", "line 2: input should be a valid dictionary, found []"),
        ('{"step": 1}', "line 2: event: missing"),
        ('{"event": "validation", "step": 1, "attempt": 0}', "line 2: loss: missing, of the event 'validation'"),
        ('{"event": "resume", "checkpoint": "8"}', "line 2: checkpoint: input should be a valid integer, found '8'"),
        ("garbage", "line 2 is not JSON"),
    ],
)
def test_a_line_of_another_shape_is_named(file: Path, line: str, words: str) -> None:
    file.write_text(f'{{"event": "stopped"}}\n{line}\n{{"event": "stopped"}}\n')
    with pytest.raises(UserError) as caught:
        run_files.read_events(file)
    assert str(caught.value) == f"{file}: {words}"


def test_a_key_of_another_shape_is_named(file: Path) -> None:
    write_json(file, {"inputs": "ab", "outputs": {"tokens/train.bin": 3}})
    with pytest.raises(UserError, match=r"outputs\.tokens/train\.bin: input should be a valid string, found 3"):
        run_files.read_stamp(file)


def test_additional_keys_and_nans_are_kept(file: Path) -> None:
    lines = [
        '{"event": "pod lost", "pod": 1, "why": "x"}',
        '{"event": "validation", "step": 1, "attempt": 0, "loss": NaN}',
    ]
    file.write_text("\n".join(lines) + '\n{"event": "torn')
    lost, validation = run_files.read_events(file)
    assert lost == {"event": "pod lost", "pod": 1, "why": "x"}
    assert validation["loss"] != validation["loss"]
