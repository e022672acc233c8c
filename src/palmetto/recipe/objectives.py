"""Training objectives, and the positions and extra tokens that they need."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from palmetto.recipe.section import Rate, Section, Share, Size, impossible

MeanSpan = Annotated[float, Field(ge=1, allow_inf_nan=False)]
Mode = Literal["R", "S", "X"]
MODES: tuple[Mode, ...] = ("R", "S", "X")


class CausalObjective(Section):
    """Causal language modelling: each token is predicted from those before it."""

    name: Literal["causal"] = "causal"


class PrefixObjective(Section):
    """Prefix language modelling (arXiv 1910.10683, section 3.2): the positions of a prefix of uniformly drawn length
    see each other, and every token after it is predicted."""

    name: Literal["prefix"] = "prefix"


class SpanObjective(Section):
    """Span corruption (arXiv 1910.10683, section 3.1.4): spans of the window are replaced by sentinels, and predicted
    after the window, each after its sentinel. Unlike in the paper, a window need not end with a span. The positions of
    the corrupted window see each other."""

    name: Literal["spans"] = "spans"
    noise: Share = 0.15
    """The share of the window's tokens that is predicted."""
    mean_span: MeanSpan = 3.0
    """The mean length of a span in tokens."""


class Denoiser(Section):
    """One task of the mixture: modes R and X corrupt spans, mode S predicts after a prefix."""

    mode: Mode
    noise: Share
    """The share of the window's tokens that is predicted. For S it is the mean share, which is at most one half."""
    mean_span: MeanSpan | None = None
    """The mean length of a span in tokens. S has no spans: it predicts the window's end."""

    @model_validator(mode="after")
    def _check(self) -> "Denoiser":
        key = "training.objective.denoisers.mean_span"
        if self.mode == "S" and self.mean_span is not None:
            raise impossible(key, self.mean_span, "S predicts the window's end and has no spans: leave it out")
        if self.mode != "S" and self.mean_span is None:
            needs = f"{self.mode} corrupts spans and needs their mean length: 3.0 would do"
            raise impossible(key, self.mean_span, needs)
        return self


class MixtureObjective(Section):
    """A mixture of denoisers (UL2, arXiv 2205.05131, table 1). Each window gets one denoiser; a token before the window
    names its mode."""

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
    """The denoisers, all equally likely."""


class ExamplesObjective(Section):
    """Fine-tuning on examples: each token of a target is predicted from those before it."""

    name: Literal["examples"] = "examples"
    packing: Literal["apart", "stream"] = "apart"
    """apart: several examples share a row, none sees another, and positions begin anew with each; stream: examples
    follow one another as documents do, and are cut where a window ends."""
    longest_prompt: Size | None = None
    """The most tokens before the first that is predicted; examples with more are left out. None: whatever fits."""
    longest_target: Size | None = None
    """The most tokens from there on."""


class PreferencesObjective(Section):
    """Direct preference optimization (arXiv 2305.18290): of two answers the chosen one becomes likelier than the
    rejected one, relative to the model that fine-tuning began with."""

    name: Literal["preferences"] = "preferences"
    beta: Rate = 0.1
    """The strength with which the model is held to that one."""


OnDocuments = CausalObjective | PrefixObjective | SpanObjective | MixtureObjective
OnExamples = ExamplesObjective | PreferencesObjective
"""The objectives whose text is examples rather than documents."""
Objective = OnDocuments | OnExamples


def side_by_side(objective: Objective) -> bool:
    """Returns whether a row holds several examples that do not see each other."""
    packed = isinstance(objective, ExamplesObjective) and objective.packing == "apart"
    return packed or isinstance(objective, PreferencesObjective)


def loss_unit(objective: Objective) -> str:
    """Returns what a loss is measured in."""
    return "nats a pair" if isinstance(objective, PreferencesObjective) else "nats a token"


def has_prefix(objective: Objective) -> bool:
    """Returns whether examples have a prefix whose positions see each other."""
    return isinstance(objective, PrefixObjective | SpanObjective | MixtureObjective)


def example_length(objective: Objective, sequence_length: int) -> int:
    """Returns M, the number of positions that the model sees of a window of T + 1 tokens; T is `sequence_length`.

    An example has M + 1 places, of which the last is only a target. Span corruption adds two sentinels for each span
    and an end; the mixture needs as many as its longest denoiser, and a mode token.
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
    """Returns the number of ids that the objective adds after the vocabulary: sentinels, then the mixture's `MODES`."""
    modes = len(MODES) if isinstance(objective, MixtureObjective) else 0
    return _most_spans(objective, sequence_length + 1) + modes


def count_spans(window: int, noise: float, mean_span: float) -> tuple[int, int]:
    """Returns how many tokens of a window are noise and how many spans they form, the same for every such window.

    This is T5's random_spans_noise_mask (arXiv 1910.10683). Ties round to even. At least one token is noise and at
    least one is kept; each span has at least one token, and at least one kept token before it.
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
