"""Refuses requests that can never be served."""

from palmetto.decoding.limits import Limits
from palmetto.decoding.refusal import Refused
from palmetto.decoding.request import TOP, Request
from palmetto.decoding.sampling import SEEDS, Sampling
from palmetto.recipe.model import Model


def check(request: Request, model: Model, limits: Limits, longest: int, vocabulary: int, vocabulary_size: int) -> None:
    """Raises Refused that names what of a request cannot be, and what can; UserError for its sampling.

    longest: the most positions of a sequence. vocabulary: the number of tokens that the model
    knows; those below `vocabulary_size` may be generated.
    """
    request.sampling.check(vocabulary_size)
    if not request.prompt:
        raise Refused("prompt", "empty; expected at least one token")
    if len(request.prompt) > longest:
        raise Refused("prompt", f"{len(request.prompt)} tokens; expected at most {longest}")
    if not 0 <= min(request.prompt) <= max(request.prompt) < vocabulary:
        wrong = next(token for token in request.prompt if not 0 <= token < vocabulary)
        raise Refused("prompt", f"token {wrong}; expected 0 to {vocabulary - 1}")
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
            raise Refused(name, f"expected {low} to {high}", getattr(request, name))
    if request.beams and request.choices > request.beams:
        raise Refused("choices", f"expected at most beams={request.beams}", request.choices)
    if request.beams and request.constraint is not None:
        raise Refused("constraint", "expected none with beams, which cannot share one")
    if request.ended is not None and not request.beams:
        raise Refused("ended", "expected with beams only; a constraint ends other choices")
    if request.beams and request.sampling != Sampling():
        raise Refused("sampling", "expected none with beams, which are chosen by log-probability")
    if request.beams and request.processed:
        raise Refused("processed", "expected false with beams, which are chosen by the model's log-probabilities")
    if request.prefix:
        if not model.attention.takes_prefix:
            raise Refused("prefix", f"expected 0 with {model.attention.name} attention", request.prefix)
        model.positions.check_prefix("prefix")
