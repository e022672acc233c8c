"""Groups of devices are read in every form that programs use."""

import numpy as np
import pytest

from palmetto.planning.program.groups import parse_groups
from palmetto.planning.program.hlo import Unreadable

DEVICES = 8


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("{{0,1},{2,3}}", ((0, 1), (2, 3))),
        ("[2,4]<=[8]", ((0, 1, 2, 3), (4, 5, 6, 7))),
        ("[2,4]<=[4,2]T(1,0)", ((0, 2, 4, 6), (1, 3, 5, 7))),
        ("[4,2]<=[2,2,2]T(0,2,1)", ((0, 2), (1, 3), (4, 6), (5, 7))),
        ("{}", (tuple(range(8)),)),
        ("mesh['axis_0'=1,'axis_1'=4] {'axis_1'}", ((0, 1, 2, 3),)),
        ("mesh['x'=2,'y'=4] {'y'}", ((0, 1, 2, 3), (4, 5, 6, 7))),
        ("mesh['x'=2,'y'=4] {'x'}", ((0, 4), (1, 5), (2, 6), (3, 7))),
        ("mesh['x'=2,'y'=2,'z'=2] {'x','z'}", ((0, 1, 4, 5), (2, 3, 6, 7))),
        ("mesh['x'=2,'y'=4] {'y','x'}", ((0, 4, 1, 5, 2, 6, 3, 7),)),
        ("mesh['x'=2,'y'=4] {}", tuple((device,) for device in range(8))),
        ("mesh['x'=2,'y'=2], device_ids=(0,2,1,3) {'y'}", ((0, 2), (1, 3))),
        ("mesh['x'=2,'y'=4], device_ids=([4,2]T(1,0)) {'y'}", ((0, 2, 4, 6), (1, 3, 5, 7))),
        ("mesh['x'=8] {'x':(1)2}", ((0, 4), (1, 5), (2, 6), (3, 7))),
        ("mesh['x'=8] {'x':(2)2}", ((0, 2), (1, 3), (4, 6), (5, 7))),
        ("mesh['x'=8] {'x':(4)2}", ((0, 1), (2, 3), (4, 5), (6, 7))),
        ("mesh['x'=8] {'x':(1)2,'x':(4)2}", ((0, 1, 4, 5), (2, 3, 6, 7))),
    ],
)
def test_groups_are_read_in_every_form(text: str, groups: tuple[tuple[int, ...], ...]) -> None:
    assert parse_groups(text, DEVICES) == groups


def test_groups_by_axes_equal_a_transposed_iota() -> None:
    mesh = parse_groups("mesh['a'=2,'b'=3,'c'=4,'d'=5] {'d','b'}", 120)
    expected = np.arange(120).reshape(2, 3, 4, 5).transpose(0, 2, 3, 1).reshape(8, 15)
    assert mesh == tuple(map(tuple, expected.tolist()))


@pytest.mark.parametrize("text", ["who knows", "mesh['x'=8] {'y'}"])
def test_unknown_forms_are_unreadable(text: str) -> None:
    with pytest.raises(Unreadable, match="groups of devices"):
        parse_groups(text, DEVICES)
