"""Meshes that a recipe may have, and the sizes that messages suggest."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmetto.errors import UserError
from palmetto.recipe import loading
from tests.conftest import RecipeMaker

NINE_HEADS = ("model.heads=9", "model.head_size=8")


MEMORY = ("model.layers=4", "model.attention={name: memory, window: 4, layer: 1}")


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            ("mesh.model=3", *NINE_HEADS),
            "mesh.model=3: must divide model.d_model (32), model.heads (9) and model.d_ff (128): 1 would do",
        ),
        (
            ("mesh.stage=4", "model.layers=6", "model.experts.count=4"),
            "mesh.stage=4: must divide the periods of 2 layers in model.layers=6 (3): 1 or 3 would do",
        ),
        (
            ("mesh.stage=2", *MEMORY),
            "mesh.stage=2: must divide the periods of 4 layers in model.layers=4 (1): 1 would do",
        ),
        (("mesh.stage=3",), "mesh.stage=3: must divide model.layers (2): 1 or 2 would do"),
        (
            ("mesh.expert=3",),
            "mesh.expert=3: must divide model.experts.count, and the model has no experts: 1 would do",
        ),
        (
            ("mesh.expert=3", "model.experts.count=6"),
            "mesh.expert=3: must be a power of two, as the gradient's tree needs: 1 or 2 would do",
        ),
        (
            ("mesh.data=3", "mesh.pod=2"),
            "mesh.data=3: must be a power of two, as the gradient's tree needs: 1 or 2 would do",
        ),
        (
            ("mesh.data=2", "training.batch_size={0: 2, 4: 8}"),
            "training.batch_size=2: has 1 micro-batch of 2 for the 2 devices of mesh.data: 4 sequences would do, "
            "or 1 device",
        ),
        (
            ("mesh.pod=4", "mesh.data=2"),
            "training.batch_size=8: has 4 micro-batches of 2 for the 8 devices of mesh.pod·mesh.data: 16 sequences "
            "would do, or 4 devices",
        ),
    ],
)
def test_an_invalid_mesh_is_refused_with_valid_sizes(
    tiny_recipe: RecipeMaker, overrides: tuple[str, ...], says: str
) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(says)}$"):
        tiny_recipe(*overrides)


AXIS = st.integers(1, 12)


@given(
    st.fixed_dictionaries(
        dict.fromkeys(("pod", "data", "stage", "expert", "sequence", "model"), AXIS) | {"zero": st.integers(0, 3)}
    ),
    st.fixed_dictionaries({"layers": AXIS, "heads": AXIS, "d_model": st.sampled_from([30, 32, 48]), "d_ff": AXIS}),
    st.one_of(st.none(), st.integers(2, 12)),
    st.lists(st.sampled_from([2, 4, 8, 64]), min_size=1, max_size=3, unique=True),
    st.randoms(use_true_random=False),
)
def test_every_suggestion_for_a_mesh_is_accepted(
    mesh: dict[str, int], model: dict[str, Any], experts: int | None, batches: list[int], random: Any
) -> None:
    """Follows one suggestion after another. None is refused later, so that the recipe becomes valid."""
    model |= {"head_size": 8} | ({"experts": {"count": experts, "every": 1}} if experts else {})
    ramp = {10 * stage: size for stage, size in enumerate(batches)}
    values = {
        "name": "meshed",
        "tokens": {"vocabulary_size": 300, "sequence_length": 24},
        "model": model,
        "training": {"steps": 8, "batch_size": ramp, "micro_batch": 2},
        "mesh": mesh,
    }
    taken = set[str]()
    while refusal := refused(values):
        key, *suggested = SUGGESTS.fullmatch(refusal).groups()  # type: ignore[union-attr]
        size = random.choice([int(number) for number in suggested if number])
        assert key not in taken, "what was suggested is refused"
        taken.add(key)
        if key.startswith("mesh."):
            mesh[key.removeprefix("mesh.")] = size
        elif str(size) == suggested[0]:
            ramp[next(stage for stage in ramp if key == f"training.batch_size={ramp[stage]}")] = size
        else:
            mesh |= {"pod": size, "data": 1, "expert": 1}


SUGGESTS = re.compile(
    r"(mesh\.\w+|training\.batch_size=\d+)(?:=\d+)?: .*: "
    r"(\d+)(?: or (\d+))?(?: sequences)? would do(?:, or (\d+) devices?)?"
)


def refused(values: dict[str, Any]) -> str:
    """Returns the message for invalid values, or an empty string if they are valid."""
    try:
        loading.validate(values)
    except UserError as error:
        return str(error)
    return ""
