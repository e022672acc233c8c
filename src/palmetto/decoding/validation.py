"""Refuses requests that can never be served."""

from palmetto.decoding.limits import Limits
from palmetto.decoding.request import Request
from palmetto.decoding.sampling import SEEDS, Sampling
from palmetto.errors import UserError
from palmetto.recipe.model import Model

TOP = 20
"""The largest number of most probable tokens that are reported."""


def check(request: Request, model: Model, limits: Limits, longest: int, vocabulary: int, vocabulary_size: int) -> None:
    """Raises UserError that names what of a request cannot be, and what can.

    longest: the most positions of a sequence. vocabulary: the number of tokens that the model
    knows; those below `vocabulary_size` may be generated.
    """
    request.sampling.check(vocabulary_size)
    if not request.prompt:
        raise UserError("prompt: empty; expected at least one token")
    if len(request.prompt) > longest:
        raise UserError(f"prompt: {len(request.prompt)} tokens; expected at most {longest}")
    if not 0 <= min(request.prompt) <= max(request.prompt) < vocabulary:
        wrong = next(token for token in request.prompt if not 0 <= token < vocabulary)
        raise UserError(f"prompt: token {wrong}; expected 0 to {vocabulary - 1}")
    for name, low, high in (
        ("tokens", 0, 2**31 - 1),
        ("choices", 1, 2**16),
        ("top", 0, TOP),
        ("beams", 0, limits.sequences if request.tokens else 0),
        ("seed", 0, SEEDS - 1),
        ("prefix", 0, len(request.prompt)),
        ("echo_from", 0, len(request.prompt)),
    ):
        if not low <= getattr(request, name) <= high:
            raise UserError(f"{name}={getattr(request, name)}: expected {low} to {high}")
    if request.beams and request.choices > request.beams:
        raise UserError(f"choices={request.choices}: expected at most beams={request.beams}")
    if request.beams and request.constraint is not None:
        raise UserError("constraint: expected none with beams, which cannot share one")
    if request.beams and request.sampling != Sampling():
        raise UserError("sampling: expected none with beams, which are chosen by log-probability")
    if request.prefix:
        if not model.attention.takes_prefix:
            raise UserError(f"prefix={request.prefix}: expected 0 with {model.attention.name} attention")
        model.positions.check_prefix("prefix")
