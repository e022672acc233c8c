"""Tests the settings of sampling."""

import pytest

from palmetto.decoding.sampling import Sampling
from palmetto.errors import UserError


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        (Sampling(temperature=-0.1), r"--temperature -0.1: expected 0 \(greedy\) or more"),
        (Sampling(temperature=float("inf")), "--temperature inf: expected"),
        (Sampling(temperature=float("nan")), "--temperature nan: expected"),
        (Sampling(1.0, top_k=0), "--top-k 0: expected at least 1"),
        (Sampling(1.0, top_p=0.0), "--top-p 0.0: expected more than 0 and at most 1"),
        (Sampling(1.0, top_p=1.1), "--top-p 1.1: expected more than 0 and at most 1"),
        (Sampling(1.0, top_p=float("nan")), "--top-p nan: expected"),
        (Sampling(1.0, min_p=-0.1), "--min-p -0.1: expected 0 to 1"),
        (Sampling(1.0, typical_p=0.0), "--typical-p 0.0: expected more than 0"),
        (Sampling(repetition_penalty=0.0), "--repetition-penalty 0.0: expected more than 0"),
        (Sampling(presence_penalty=float("nan")), "--presence-penalty nan: expected"),
        (Sampling(frequency_penalty=float("inf")), "--frequency-penalty inf: expected"),
        (Sampling(banned=(3, 10)), "banned: token 10; expected tokens from 0 to 9"),
        (Sampling(forced=(-1,)), "forced: token -1; expected tokens from 0 to 9"),
        (Sampling(logit_bias=((10, 1.0),)), "logit_bias: token 10; expected tokens from 0 to 9"),
        (Sampling(logit_bias=((1, float("nan")),)), "logit_bias: nan for token 1; expected a number"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_options_out_of_range_are_refused_by_name(sampling: Sampling, message: str) -> None:
    with pytest.raises(UserError, match=message):
        sampling.check(10)


def test_options_in_range_are_accepted() -> None:
    for sampling in (Sampling(), Sampling(0.8, 40, 0.9), Sampling(1.0, 1, 1.0), Sampling(logit_bias=((9, -100.0),))):
        assert sampling.check(10) is sampling
