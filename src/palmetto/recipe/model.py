"""The decoder as a choice of parts. PaLM and GLaM, like every known model here, are points in this one space."""

import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from palmetto.recipe.section import Coefficient, Positive, PositiveInt32, Rate, Section, Size, impossible

Feedforward = Literal["relu", "gelu", "swish", "glu", "geglu", "swiglu"]
GATED: tuple[Feedforward, ...] = ("glu", "geglu", "swiglu")


class RotaryPositions(Section):
    """Queries and keys turned by angles that grow with the position (arXiv 2104.09864)."""

    name: Literal["rotary"] = "rotary"
    base: Rate = 10000.0
    """Pair i of Q/2 turns by position · base^(−2i/Q). A larger base stretches the slow pairs (base modification)."""
    scaling: Literal["none", "interpolation", "ntk", "truncated"] = "none"
    """How positions beyond those trained are brought within reach:
    interpolation divides all positions by `factor` (arXiv 2306.15595); ntk raises the base so that the slowest pair
    alone is divided by it; truncated stops the pairs that turn less than once in `trained` positions
    (arXiv 2308.10882)."""
    factor: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0
    trained: Positive | None = None
    """The sequence length of training, which `truncated` needs."""

    @model_validator(mode="after")
    def _check(self) -> "RotaryPositions":
        if self.scaling == "truncated" and self.trained is None:
            raise impossible("model.positions.trained", self.trained, "truncated scaling needs the length of training")
        if self.factor != 1 and self.scaling not in ("interpolation", "ntk"):
            raise impossible("model.positions.factor", self.factor, "only the scalings interpolation and ntk have a "
                             f"factor, and model.positions.scaling is {self.scaling}")  # fmt: skip
        return self


class AlibiPositions(Section):
    """A penalty on scores that grows with the distance, its slope fixed for each head (arXiv 2108.12409)."""

    name: Literal["alibi"] = "alibi"


class T5Positions(Section):
    """A learned bias on scores for each head and bucket of distances, each layer its own (arXiv 1910.10683)."""

    name: Literal["t5"] = "t5"
    buckets: Annotated[int, Field(ge=2, le=2**16)] = 32
    """Half of them hold one distance each, half grow logarithmically."""
    max_distance: PositiveInt32 = 128
    """Distances from here on share the last bucket."""
    bidirectional: bool = False
    """Half of the buckets for what lies ahead, which the prefix of a prefix decoder sees."""

    @model_validator(mode="after")
    def _check(self) -> "T5Positions":
        if self.bidirectional and self.buckets < 4:
            raise impossible("model.positions.buckets", self.buckets, "must leave at least two to each direction: 4 "
                             "would do")  # fmt: skip
        if self.max_distance <= self.buckets // 2:
            raise impossible("model.positions.max_distance", self.max_distance, "must exceed half of "
                             f"model.positions.buckets: {self.buckets // 2 + 1} would do")  # fmt: skip
        return self


class TransformerXLPositions(Section):
    """Scores with a term for the distance: (q + u)·k + (q + w)·r, r from sinusoids (arXiv 1901.02860, section 3.3)."""

    name: Literal["transformer_xl"] = "transformer_xl"


class LearnedPositions(Section):
    """A learned vector for each position, added to the embedding."""

    name: Literal["learned"] = "learned"
    length: Size
    """Positions there are vectors for: no sequence can be longer."""


class SinusoidalPositions(Section):
    """Fixed sines and cosines of the position added to the embedding (arXiv 1706.03762, section 3.5)."""

    name: Literal["sinusoidal"] = "sinusoidal"


Positions = (
    RotaryPositions | AlibiPositions | T5Positions | TransformerXLPositions | LearnedPositions | SinusoidalPositions
)


class FullAttention(Section):
    """Every position sees all before it."""

    name: Literal["full"] = "full"


class LocalAttention(Section):
    """A position sees the `window` last ones, itself included."""

    name: Literal["local"] = "local"
    window: PositiveInt32
    every: Positive = 1
    """Layers every − 1, 2·every − 1, … have it, the others full attention (GPT-3 alternates: 2)."""


class StridedAttention(Section):
    """A position sees the `stride` last ones and, before them, each stride-th (arXiv 1904.10509, section 4.2)."""

    name: Literal["strided"] = "strided"
    stride: Annotated[int, Field(ge=2)]
    every: Positive = 1
    """As for local attention."""


class SinkAttention(Section):
    """Λ-shaped: a position sees the first `sinks` positions and the `window` last ones, and the sinks never seem
    farther away than `window` (arXiv 2309.17453, 2308.16137)."""

    name: Literal["sinks"] = "sinks"
    sinks: PositiveInt32 = 4
    window: PositiveInt32
    every: Positive = 1
    """As for local attention."""


class ParallelWindows(Section):
    """Parallel context windows (arXiv 2212.10947): the context comes in windows that do not see each other and share
    positions; what stands behind the last whole window sees them all."""

    name: Literal["parallel_windows"] = "parallel_windows"
    window: PositiveInt32
    count: PositiveInt32
    """Windows; from position count · window on, everything before is seen."""

    @model_validator(mode="after")
    def _check(self) -> "ParallelWindows":
        if self.window * self.count >= 2**31:
            most = (2**31 - 1) // self.window
            raise impossible(
                "model.attention.count",
                self.count,
                f"positions up to count · window, with model.attention.window={self.window}, must fit in 32 bits: at "
                f"most {most} would do",
            )
        return self


class MemoryAttention(Section):
    """A local window and, in one layer, the `neighbours` best-matching keys from before it, found exactly
    (arXiv 2203.08913, with one softmax over both in place of a learned gate)."""

    name: Literal["memory"] = "memory"
    window: PositiveInt32
    layer: Annotated[int, Field(ge=0)]
    """Which layer has the memory."""
    neighbours: PositiveInt32 = 32


Attention = FullAttention | LocalAttention | StridedAttention | SinkAttention | ParallelWindows | MemoryAttention


class Experts(Section):
    """Feed-forward layers that are a mixture of experts (GLaM, arXiv 2112.06905; GShard, arXiv 2006.16668)."""

    count: Annotated[int, Field(ge=1, le=2**16)]
    """E, the experts of a layer."""
    top: Positive = 2
    """Experts that each token goes to; their outputs are weighted by the gate's renormalized probabilities."""
    every: Positive = 2
    """Layers every − 1, 2·every − 1, … have experts: with 2 every other, as in GLaM; with 1 all."""
    feedforward: Feedforward | None = None
    """By default model.feedforward. GLaM's experts are ungated: gelu."""
    d_ff: Size | None = None
    """By default model.d_ff."""
    capacity_factor: Rate | None = None
    """An expert takes at most this many times its even share of a sequence's tokens, in their order; what is over
    goes by the expert and is counted. None: dropless."""
    balance_loss: Coefficient = 0.01
    """Weight of the load-balance loss, which is 1 where every expert gets an even share (GShard, algorithm 1)."""
    router_z_loss: Coefficient = 0.0
    """Weight of the mean log² of the gate's normalizer (arXiv 2202.08906, equation 5)."""

    @model_validator(mode="after")
    def _check(self) -> "Experts":
        if self.top > self.count:
            raise impossible("model.experts.top", self.top, f"there are model.experts.count={self.count} experts to "
                             f"choose from: {self.count} would do")  # fmt: skip
        return self


class Model(Section):
    """A decoder: L layers, width D, H query heads of size Q, K key/value heads, feed-forward F.

    The defaults are PaLM's (arXiv 2204.02311, section 2).
    """

    layers: Annotated[int, Field(ge=1, le=2**14)]
    d_model: Annotated[int, Field(ge=2, le=2**20)]
    heads: Annotated[int, Field(ge=1, le=2**16)]
    key_value_heads: Positive = 1
    """K: 1 is multi-query attention, `heads` multi-head, between them grouped-query."""
    head_size: int | None = None
    """Q; by default d_model / heads. PaLM 540B has 48 heads of 256 on a width of 18432: they need not multiply up."""
    d_ff: int | None = None
    """F; by default 4 · d_model."""
    block: Literal["parallel", "serial"] = "parallel"
    """Attention and feed-forward side by side behind one norm, or one after the other, each with its own."""
    norm: Literal["layer", "rms"] = "layer"
    norm_position: Literal["pre", "post", "sandwich", "deep"] = "pre"
    """pre: x + f(N(x)); post: N(x + f(x)); sandwich: x + N(f(N(x))); deep: N(α·x + f(x)) (arXiv 2203.00555)."""
    norm_bias: bool = False
    """A learned bias in every LayerNorm."""
    qk_norm: bool = False
    """A norm with a learned scale over each head of queries and keys, before rotation (arXiv 2302.05442)."""
    embedding_norm: bool = False
    """A norm behind the embedding, as in BLOOM. The survey advises against it."""
    biases: bool = False
    """Biases in attention and feed-forward kernels."""
    tied_embedding: bool = True
    """One matrix for input and output, the logits over √D; or an output kernel of its own."""
    feedforward: Feedforward = "swiglu"
    positions: Annotated[Positions, Field(discriminator="name")] = RotaryPositions()
    attention: Annotated[Attention, Field(discriminator="name")] = FullAttention()
    experts: Experts | None = None
    activations: Literal["float32", "bfloat16", "float16"] = "float32"

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        values = dict(values)
        for section, usual in (("positions", "rotary"), ("attention", "full")):
            if isinstance(values.get(section), dict):
                values[section] = {"name": usual, **values[section]}
        width, heads = values.get("d_model"), values.get("heads")
        if isinstance(width, int) and isinstance(heads, int) and 0 < width <= 2**20 and heads > 0:
            if values.get("head_size") is None:
                if width % heads:
                    fits = [str(h) for h in range(1, width + 1) if width % h == 0 and width // h % 2 == 0]
                    choice = f" (one of {', '.join(fits)})" if fits else ""
                    raise impossible("model.heads", heads, f"must divide model.d_model {width}{choice}, "
                                     "or model.head_size must be given")  # fmt: skip
                values["head_size"] = width // heads
            if values.get("d_ff") is None:
                values["d_ff"] = 4 * width
        return values

    @model_validator(mode="after")
    def _check_sizes(self) -> "Model":
        for key, size in (("model.head_size", self.head_size), ("model.d_ff", self.d_ff)):
            if size is None or not 1 <= size <= 2**24:
                raise impossible(key, size, f"must be at least 1 and at most {2**24}")
        assert self.head_size is not None
        if self.heads % self.key_value_heads:
            fits = [str(k) for k in range(1, self.heads + 1) if self.heads % k == 0]
            raise impossible("model.key_value_heads", self.key_value_heads, f"must divide model.heads {self.heads}: "
                             f"one of {', '.join(fits)}")  # fmt: skip
        for key, size, name, why in (
            ("model.head_size", self.head_size, "rotary", "rotary positions turn pairs"),
            ("model.d_model", self.d_model, "sinusoidal", "sinusoids come in pairs of sine and cosine"),
            ("model.d_model", self.d_model, "transformer_xl", "sinusoids come in pairs of sine and cosine"),
        ):
            if self.positions.name == name and size % 2:
                even = f"{size - 1} or {size + 1}" if size > 2 else "2"
                raise impossible(key, size, f"must be even, since {why}: {even} would do")
        return self

    @model_validator(mode="after")
    def _check_combinations(self) -> "Model":
        if self.norm_position == "deep" and self.block == "parallel":
            raise impossible("model.norm_position", "deep", "DeepNorm's α and β are derived for attention and "
                             "feed-forward one after the other: model.block=serial would do")  # fmt: skip
        if self.norm_position == "deep" and self.norm == "rms":
            raise impossible("model.norm_position", "deep", "DeepNorm is a LayerNorm: model.norm=layer would do")
        if self.norm_bias and self.norm == "rms":
            raise impossible("model.norm_bias", True, "RMSNorm has no bias: model.norm=layer would do")
        if self.experts and self.biases:
            raise impossible("model.biases", True, "experts have none: model.biases=false would do")
        for key, every in (("model.experts.every", self.expert_period), ("model.attention.every", self.sparse_period)):
            if self.layers % every:
                fits = [str(n) for n in range(1, self.layers + 1) if self.layers % n == 0]
                raise impossible(key, every, f"must divide model.layers {self.layers}: one of {', '.join(fits)}")
        attention, positions = self.attention, self.positions
        if isinstance(attention, MemoryAttention) and attention.layer >= self.layers:
            raise impossible("model.attention.layer", attention.layer, f"layers count from 0 to {self.layers - 1}")
        by_distance = {"parallel_windows": ("t5", "transformer_xl"), "memory": ("t5", "transformer_xl", "alibi")}
        if positions.name in by_distance.get(attention.name, ()):
            raise impossible("model.positions.name", positions.name, "is a matter of distances, which "
                             f"{attention.name} attention does not know of all positions: rotary would do")  # fmt: skip
        return self

    @property
    def query_size(self) -> int:
        """Q, the size of one head."""
        assert self.head_size is not None
        return self.head_size

    @property
    def feedforward_size(self) -> int:
        """F, the inner width of a dense feed-forward layer."""
        assert self.d_ff is not None
        return self.d_ff

    @property
    def expert_size(self) -> int:
        """The inner width of an expert."""
        assert self.experts is not None
        return self.experts.d_ff or self.feedforward_size

    @property
    def expert_feedforward(self) -> Feedforward:
        """The activation of an expert."""
        assert self.experts is not None
        return self.experts.feedforward or self.feedforward

    @property
    def expert_period(self) -> int:
        """Layers from one with experts to the next; 1 where there are none."""
        return self.experts.every if self.experts else 1

    @property
    def sparse_period(self) -> int:
        """Layers from one with the chosen attention to the next."""
        match self.attention:
            case LocalAttention() | StridedAttention() | SinkAttention():
                return self.attention.every
            case MemoryAttention():
                return self.layers
            case _:
                return 1

    @property
    def period(self) -> int:
        """Layers after which the kinds of layers repeat."""
        return math.lcm(self.expert_period, self.sparse_period)

    def has_experts(self, layer: int) -> bool:
        """Whether a layer's feed-forward is a mixture of experts."""
        return self.experts is not None and layer % self.experts.every == self.experts.every - 1

    def attention_of(self, layer: int) -> Attention:
        """The attention of a layer: the chosen one or, between those that have it, the usual."""
        if isinstance(self.attention, MemoryAttention):
            memory = layer == self.attention.layer
            return self.attention if memory else LocalAttention(window=self.attention.window)
        return self.attention if layer % self.sparse_period == self.sparse_period - 1 else FullAttention()
