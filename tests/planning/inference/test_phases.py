"""Options of the phases of inference."""

import pytest

from palmetto.errors import UserError
from palmetto.planning.inference.phases import Phase, chosen


def test_phases_are_read() -> None:
    assert chosen(None, None) is None
    assert chosen("64:2048", None) == Phase("decode", 64, 2048)
    assert chosen(None, "1:512") == Phase("prefill", 1, 512)
    assert Phase("decode", 64, 2048).tokens == 64
    assert Phase("prefill", 4, 512).tokens == 2048


@pytest.mark.parametrize("text", ["64", "64:", "0:5", "a:b", "1:2:3", "-1:5", "1.5:2"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"--prefill .*: expected BATCH:LENGTH"):
        chosen(None, text)


def test_both_phases_are_refused() -> None:
    with pytest.raises(UserError, match=r"--decode 1:2 --prefill 3:4: .*leave one out"):
        chosen("1:2", "3:4")
