"""The ledger keeps exact values, gives the same bytes after cuts, and reveals every changed byte."""

import itertools
import json
import math
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmetto.errors import UserError
from palmetto.training import ledger
from palmetto.training.ledger import Ledger, LedgerAltered, LedgerTorn, Line, batch_digest

any_float = st.floats(width=32) | st.floats()


def some_lines() -> list[Line]:
    """Returns the lines of twelve steps of two attempts, the second from step 4 on."""
    random = np.random.default_rng(0)
    steps = [(0, step) for step in range(1, 8)] + [(1, step) for step in range(4, 9)]

    def line(attempt: int, step: int) -> Line:
        loss, grad_norm, parameter_norm, z = (float(x) for x in random.normal(size=4).astype(np.float32))
        digest = f"{step:064x}" if step % 3 == 0 else None
        scale = 2.0 ** (15 - step) if step % 4 == 0 else None
        rate = float(np.float32(0.01 / step))
        batch = batch_digest(random.integers(300, size=(8, 17)))
        return Line(step, attempt, loss, grad_norm, parameter_norm, z, rate, 8, batch, step != 5, scale, digest)

    return [line(attempt, step) for attempt, step in steps]


LINES = some_lines()


def written(path: Path, lines: list[Line]) -> bytes:
    book = Ledger.open(path)
    for line in lines:
        book.append(line)
    book.close()
    return path.read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return written(tmp_path_factory.mktemp("ledger") / "ledger.jsonl", LINES)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a file that hypothesis overwrites for each example."""
    return tmp_path_factory.mktemp("scratch") / "ledger.jsonl"


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    written(path, LINES)
    assert ledger.read(path, whole=True)[0] == Ledger.open(path).lines == LINES


def test_the_last_line_and_a_given_one_are_found(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    assert ledger.last(path) is None
    assert not ledger.holds(path, 0, 1, "ab")
    written(path, LINES)
    chains = ledger.read(path)[1]
    for line, chain in zip(LINES, chains, strict=True):
        assert ledger.holds(path, line.attempt, line.step, chain)
        assert not ledger.holds(path, line.attempt, line.step + 1, chain)
        assert not ledger.holds(path, line.attempt + 1, line.step, chain)
    path.write_bytes(path.read_bytes() + b'{"step": 9')  # torn
    assert ledger.last(path) == LINES[-1]
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(UserError, match=r"ledger\.jsonl: line 13: not the line that was written"):
        ledger.last(path)


def test_a_line_has_the_documented_keys(whole: bytes) -> None:
    first = json.loads(whole.splitlines()[0])
    assert {"step", "loss", "grad_norm", "batch", "learning_rate"} <= first.keys()
    assert (float.fromhex(first["loss"]), float.fromhex(first["grad_norm"])) == (LINES[0].loss, LINES[0].grad_norm)


@given(values=st.tuples(any_float, any_float, any_float, any_float), rate=st.floats(allow_nan=False, min_value=0))
def test_floats_are_read_back_to_the_bit(scratch: Path, values: tuple[float, float, float, float], rate: float) -> None:
    scratch.unlink(missing_ok=True)
    loss, grad_norm, parameter_norm, z = values
    line = LINES[0]._replace(loss=loss, grad_norm=grad_norm, parameter_norm=parameter_norm, z=z, learning_rate=rate)
    written(scratch, [line])
    (again,) = ledger.read(scratch, whole=True)[0]
    assert again.learning_rate == rate
    for field, value in zip(("loss", "grad_norm", "parameter_norm", "z"), values, strict=True):
        back = getattr(again, field)
        assert struct.pack("<d", back) == struct.pack("<d", value) or (math.isnan(back) and math.isnan(value))


def lines_before(data: bytes, position: int) -> int:
    return data[:position].count(b"\n")


@given(data=st.data())
def test_any_changed_byte_is_found(whole: bytes, scratch: Path, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(whole) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda value: value != whole[position]))
    changed = bytearray(whole)
    changed[position] = value
    scratch.write_bytes(changed)
    with pytest.raises(LedgerAltered, match=f"line {lines_before(whole, position) + 1}, step"):
        ledger.read(scratch, whole=True)


def test_the_changed_line_is_named_by_its_step(whole: bytes, scratch: Path) -> None:
    four = b"".join(whole.splitlines(keepends=True)[:4])
    for position, value in itertools.product(range(len(four)), b'7"\n'):
        if value != four[position]:
            scratch.write_bytes(four[:position] + bytes([value]) + four[position + 1 :])
            with pytest.raises(LedgerAltered) as caught:
                ledger.read(scratch, whole=True)
            assert caught.value.step == LINES[lines_before(four, position)].step, (position, value)


@pytest.mark.parametrize(("written", "changed"), [(b": ", b":\t"), (b", ", b",\r"), (b"0x", b"0X"), (b"{", b" {")])
def test_a_change_of_spelling_alone_is_found(whole: bytes, scratch: Path, written: bytes, changed: bytes) -> None:
    scratch.write_bytes(whole.replace(written, changed, 1))
    with pytest.raises(LedgerAltered, match="line 1, step 1:"):
        ledger.read(scratch, whole=True)


def test_removed_repeated_and_exchanged_lines_are_found(whole: bytes, scratch: Path) -> None:
    lines = whole.splitlines(keepends=True)
    for i in range(len(lines) - 1):
        for changed in (
            lines[:i] + lines[i + 1 :],
            lines[: i + 1] + lines[i:],
            [*lines[:i], lines[i + 1], lines[i], *lines[i + 2 :]],
        ):
            scratch.write_bytes(b"".join(changed))
            with pytest.raises(LedgerAltered):
                ledger.read(scratch, whole=True)


def test_a_torn_last_line_is_ignored_and_cut(whole: bytes, scratch: Path) -> None:
    ends = [0, *itertools.accumulate(len(line) for line in whole.splitlines(keepends=True))]
    for length in range(ends[-2] - 3, len(whole)):
        scratch.write_bytes(whole[:length])
        complete = lines_before(whole, length)
        assert ledger.read(scratch)[0] == LINES[:complete]
        book = Ledger.open(scratch)
        assert (book.lines, scratch.read_bytes()) == (LINES[:complete], whole[:length])
        book.sync()
        assert scratch.read_bytes() == whole[: ends[complete]]
        if length not in ends:
            scratch.write_bytes(whole[:length])
            with pytest.raises(LedgerAltered, match=f"line {complete + 1}"):
                ledger.read(scratch, whole=True)


@given(stops=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=4))
def test_cutting_and_appending_again_gives_the_same_bytes(
    whole: bytes, scratch: Path, stops: list[tuple[int, int]]
) -> None:
    scratch.unlink(missing_ok=True)
    book = Ledger.open(scratch)
    for until, keep in [*stops, (12, 12)]:
        for line in LINES[len(book.lines) : until]:
            book.append(line)
        book.cut(min(keep, len(book.lines)))
        if keep % 2:
            book.close()
            book = Ledger.open(scratch)
    book.close()
    assert scratch.read_bytes() == whole


def test_has_compares_attempt_step_and_chain(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    book = Ledger.open(path)
    chains = []
    for line in LINES:
        book.append(line)
        chains.append(book.chain)
    for line, chain in zip(LINES, chains, strict=True):
        assert book.has(line.attempt, line.step, chain)
        assert not book.has(line.attempt + 1, line.step, chain)
        assert not book.has(line.attempt, line.step + 1, chain)
        assert not book.has(line.attempt, line.step, ledger.START)
    book.cut(7)
    assert book.chain == chains[6]
    assert not book.has(LINES[7].attempt, LINES[7].step, chains[7])


def test_the_chain_covers_every_line_before(tmp_path: Path) -> None:
    other = [LINES[0]._replace(loss=math.nextafter(LINES[0].loss, 9)), *LINES[1:]]
    for name, lines in (("one", LINES), ("other", other)):
        written(tmp_path / name, lines)
    one, another = (ledger.read(tmp_path / name)[1] for name in ("one", "other"))
    assert all(here != there for here, there in zip(one, another, strict=True))


def test_an_empty_or_missing_ledger_has_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    assert ledger.read(path, whole=True) == ([], [])
    book = Ledger.open(path)
    assert (book.lines, book.chain) == ([], ledger.START)


def test_batch_digests_depend_on_tokens_but_not_integer_types() -> None:
    tokens = np.arange(34).reshape(2, 17)
    other = tokens.copy()
    other[1, 16] += 1
    assert batch_digest(tokens.astype(np.int32)) == batch_digest(tokens.astype(np.int64)) == batch_digest(tokens)
    assert batch_digest(tokens) != batch_digest(other) != batch_digest(tokens[::-1])


def test_lines_are_compared_to_the_bit() -> None:
    line = LINES[0]._replace(loss=float("nan"), grad_norm=float("inf"), parameters="ab")
    assert ledger.differing(line, line._replace(loss=float("nan"), parameters=None)) is None
    assert ledger.differing(line, line._replace(z=math.nextafter(line.z, 1e9))) == "z"
    assert ledger.differing(line._replace(z=0.0), line._replace(z=-0.0)) == "z"


@pytest.mark.parametrize("behind", [b"", b'{"step": 9', b"\0" * 40, b'{"step": 9, "attempt": 1}'])
def test_a_torn_last_line_is_reported_as_torn(whole: bytes, scratch: Path, behind: bytes) -> None:
    scratch.write_bytes(whole[:-1] if not behind else whole + behind)
    with pytest.raises(LedgerTorn, match="torn"):
        ledger.read(scratch, whole=True)


@pytest.mark.parametrize("behind", [b"x", b" 7", b"\n{]\n"])
def test_a_last_line_with_trailing_text_is_altered(whole: bytes, scratch: Path, behind: bytes) -> None:
    scratch.write_bytes(whole[:-1] + behind)
    with pytest.raises(LedgerAltered, match="not the line that was written"):
        ledger.read(scratch, whole=True)


def test_a_line_nested_too_deep_is_named(whole: bytes, scratch: Path) -> None:
    scratch.write_bytes(whole + b"[" * 100_000 + b"\n")
    with pytest.raises(LedgerAltered, match=f"line {len(LINES) + 1}, step {LINES[-1].step + 1}"):
        ledger.read(scratch)


@pytest.mark.parametrize("forged", [{"step": "1"}, {"attempt": 0.0}, {"sequences": None}, {"applied": 1}, {"batch": 3}])
def test_a_chained_line_of_other_types_is_refused(scratch: Path, forged: dict[str, object]) -> None:
    """A forger can chain any line, but readers must never get a step that is a string."""
    scratch.unlink(missing_ok=True)
    written(scratch, [LINES[0]._replace(**forged), LINES[1]])  # type: ignore[arg-type]
    with pytest.raises(LedgerAltered, match="line 1, step 1: not the line that was written"):
        ledger.read(scratch)
