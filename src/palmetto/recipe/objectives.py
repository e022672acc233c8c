"""What a model is trained to predict, and the room that takes: positions, and tokens beyond the vocabulary."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from palmetto.recipe.section import Section, Share, impossible

MeanSpan = Annotated[float, Field(ge=1, allow_inf_nan=False)]
Mode = Literal["R", "S", "X"]
MODES: tuple[Mode, ...] = ("R", "S", "X")


class CausalObjective(Section):
    """Every next token from those before it."""

    name: Literal["causal"] = "causal"


class PrefixObjective(Section):
    """A prefix, of uniform length, whose positions see each other; every token behind it is predicted
    (arXiv 1910.10683, section 3.2)."""

    name: Literal["prefix"] = "prefix"


class SpanObjective(Section):
    """Spans of the window are replaced by sentinels and predicted behind it, each after its sentinel
    (arXiv 1910.10683, section 3.1.4; unlike there, a window need not end with a span). The corrupted window is a prefix
    whose positions see each other."""

    name: Literal["spans"] = "spans"
    noise: Share = 0.15
    """Share of the window's tokens that is predicted."""
    mean_span: MeanSpan = 3.0
    """Tokens of a span on average."""


class Denoiser(Section):
    """One task of the mixture: R and X corrupt spans, S is a prefix."""

    mode: Mode
    noise: Share
    """Share of the window's tokens that is predicted; for S on average, and its average is never above one half."""
    mean_span: MeanSpan | None = None
    """Tokens of a span on average; S has one span, the window's end."""

    @model_validator(mode="after")
    def _check(self) -> "Denoiser":
        key = "training.objective.denoisers.mean_span"
        if self.mode == "S" and self.mean_span is not None:
            raise impossible(key, self.mean_span, "S predicts the window's end and has no spans: leave it out")
        if self.mode != "S" and self.mean_span is None:
            raise impossible(key, self.mean_span, f"{self.mode} corrupts spans and needs their mean length: "
                             "3.0 would do")  # fmt: skip
        return self


class MixtureObjective(Section):
    """A mixture of denoisers (UL2, arXiv 2205.05131, table 1): each window is for one, named by a token before it."""

    name: Literal["mixture"] = "mixture"
    denoisers: Annotated[tuple[Denoiser, ...], Field(min_length=1, strict=False)] = (
        Denoiser(mode="R", noise=0.15, mean_span=3.0),
        Denoiser(mode="R", noise=0.15, mean_span=8.0),
        Denoiser(mode="S", noise=0.25),
        Denoiser(mode="X", noise=0.5, mean_span=3.0),
        Denoiser(mode="X", noise=0.5, mean_span=8.0),
        Denoiser(mode="X", noise=0.15, mean_span=64.0),
        Denoiser(mode="X", noise=0.5, mean_span=64.0),
    )
    """Each as likely as the others."""


Objective = CausalObjective | PrefixObjective | SpanObjective | MixtureObjective


def example_length(objective: Objective, sequence_length: int) -> int:
    """M, the positions that the model sees of a window of T + 1 tokens, T the `sequence_length`.

    One less than the places of an example, the last of which is a target only. Spans take, besides the window's
    tokens, two sentinels each and an end; the mixture takes what its longest denoiser takes, and a mode token.
    """
    window = sequence_length + 1
    match objective:
        case SpanObjective():
            return window + 2 * _most_spans(objective, window)
        case MixtureObjective():
            spans = _most_spans(objective, window)
            return window + 2 * spans + (spans > 0)
        case _:
            return sequence_length


def extra_tokens(objective: Objective, sequence_length: int) -> int:
    """The ids beyond the vocabulary that the model needs: sentinels first, then for the mixture those of `MODES`."""
    modes = len(MODES) if isinstance(objective, MixtureObjective) else 0
    return _most_spans(objective, sequence_length + 1) + modes


def count_spans(window: int, noise: float, mean_span: float) -> tuple[int, int]:
    """How many of a window's tokens are noise, and in how many spans (T5's random_spans_noise_mask, arXiv 1910.10683).

    Both are the same for every window of that length. Ties round to even. There is at least one token of either kind,
    and a span has at least one token and one that is kept before it, however far that is from the settings.
    """
    noise_tokens = min(max(round(window * noise), 1), window - 1)
    return noise_tokens, min(max(round(noise_tokens / mean_span), 1), noise_tokens, window - noise_tokens)


def _most_spans(objective: Objective, window: int) -> int:
    match objective:
        case SpanObjective():
            return count_spans(window, objective.noise, objective.mean_span)[1]
        case MixtureObjective():
            corrupting = ((d.noise, d.mean_span) for d in objective.denoisers if d.mean_span is not None)
            return max((count_spans(window, noise, mean)[1] for noise, mean in corrupting), default=0)
        case _:
            return 0
