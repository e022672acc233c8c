"""The model section of a recipe: a decoder as a choice of parts, among them those of PaLM and GLaM.

The kinds of positions and of attention are files of model/positions and model/attentions (parts.py).
"""

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from palmetto.recipe.parts import Attention, Positions
from palmetto.recipe.section import Coefficient, Positive, Rate, Section, Size, impossible

Feedforward = Literal["relu", "gelu", "gelu_tanh", "swish", "glu", "geglu", "swiglu"]
GATED: tuple[Feedforward, ...] = ("glu", "geglu", "swiglu")

Weights = Literal["float32", "bfloat16", "int8"]
"""The types that a trained model's weights may be held in while it decodes."""


class Experts(Section):
    """Configures feed-forwards that are mixtures of experts (GLaM, arXiv 2112.06905; GShard, arXiv 2006.16668)."""

    count: Annotated[int, Field(ge=1, le=2**16)]
    """E, the number of experts in a layer."""
    top: Positive = 2
    """The number of experts per token; their outputs are weighted by the gate's renormalized probabilities."""
    every: Positive = 2
    """The period of layers with experts, which are layers every − 1, 2·every − 1, …; GLaM's is 2, 1 is all layers."""
    feedforward: Feedforward | None = None
    """The activation of the experts, by default model.feedforward; GLaM's experts are ungated (gelu)."""
    d_ff: Size | None = None
    """The inner width of an expert, by default model.d_ff."""
    capacity_factor: Rate | None = None
    """The capacity of an expert as a multiple of its even share of a sequence's tokens. Later tokens skip a full expert
    and are counted as dropped. None: dropless."""
    balance_loss: Coefficient = 0.01
    """The weight of the load-balance loss, which is 1 for an even load (GShard, algorithm 1)."""
    router_z_loss: Coefficient = 0.0
    """The weight of the mean log² of the gate's normalizer (arXiv 2202.08906, equation 5)."""

    @model_validator(mode="after")
    def _check(self) -> "Experts":
        if self.top > self.count:
            raise impossible(
                "model.experts.top",
                self.top,
                f"there are model.experts.count={self.count} experts to choose from: {self.count} would do",
            )
        return self


class Lora(Section):
    """Configures low-rank adapters of weights (LoRA, arXiv 2106.09685), which alone are trained."""

    weights: Annotated[tuple[str, ...], Field(min_length=1, strict=False)]
    """Patterns of the names of the adapted matrices, as in "q" or "expert_*"."""
    rank: Size
    """r, the inner size of an adapter."""
    alpha: Rate | None = None
    """α of the factor α/r of an adapter; None for a factor of 1."""


class Model(Section):
    """Configures a decoder of L layers, width D, H query heads of size Q, K key/value heads and inner width F.

    The defaults are PaLM's (arXiv 2204.02311, section 2).
    """

    layers: Annotated[int, Field(ge=1, le=2**14)]
    """L, the number of layers."""
    d_model: Annotated[int, Field(ge=2, le=2**20)]
    """D, the width of the model."""
    heads: Annotated[int, Field(ge=1, le=2**16)]
    """H, the number of query heads."""
    key_value_heads: Positive = 1
    """K, the number of key/value heads: 1 is multi-query attention, H multi-head, anything between grouped-query."""
    head_size: int | None = None
    """Q, the size of a head, by default D / H. H · Q may differ from D: PaLM 540B has 48 heads of 256 and width 18432.
    """
    d_ff: int | None = None
    """F, the inner width of a feed-forward layer, by default 4 · D."""
    block: Literal["parallel", "serial"] = "parallel"
    """The order of attention and feed-forward: in parallel with one shared norm, or one after the other, each with its
    own norm."""
    norm: Literal["layer", "rms"] = "layer"
    norm_position: Literal["pre", "post", "sandwich", "deep"] = "pre"
    """The place of the norm N. pre: x + f(N(x)); post: N(x + f(x)); sandwich: x + N(f(N(x))); deep: N(α·x + f(x))
    (arXiv 2203.00555)."""
    norm_bias: bool = False
    """True if every LayerNorm has a learned bias."""
    qk_norm: bool = False
    """True if each head of queries and keys has a norm with a learned scale, before rotation (arXiv 2302.05442)."""
    embedding_norm: bool = False
    """True if the embedding is followed by a norm, as in BLOOM; not recommended."""
    biases: bool = False
    """True if attention and feed-forward kernels have biases."""
    tied_embedding: bool | Literal["undivided"] = True
    """True if input and output share one matrix; otherwise there is an output kernel. The logits of a shared one are
    divided by √D, or with "undivided", as in GPT-2, by nothing."""
    feedforward: Feedforward = "swiglu"
    positions: Annotated[SerializeAsAny[Positions], BeforeValidator(Positions.choose)] = Field(
        default_factory=Positions.usual
    )
    attention: Annotated[SerializeAsAny[Attention], BeforeValidator(Attention.choose)] = Field(
        default_factory=Attention.usual
    )
    experts: Experts | None = None
    lora: Lora | None = None
    activations: Literal["float32", "bfloat16", "float16"] = "float32"

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        values = dict(values)
        width, heads = values.get("d_model"), values.get("heads")
        if isinstance(width, int) and isinstance(heads, int) and 0 < width <= 2**20 and heads > 0:
            if values.get("head_size") is None:
                if width % heads:
                    fits = [str(h) for h in range(1, width + 1) if width % h == 0 and width // h % 2 == 0]
                    choice = f" (one of {', '.join(fits)})" if fits else ""
                    expected = f"must divide model.d_model {width}{choice}, or model.head_size must be given"
                    raise impossible("model.heads", heads, expected)
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
            expected = f"must divide model.heads {self.heads}: one of {', '.join(fits)}"
            raise impossible("model.key_value_heads", self.key_value_heads, expected)
        self.positions.check(self)
        return self

    @model_validator(mode="after")
    def _check_combinations(self) -> "Model":
        if self.norm_position == "deep" and self.block == "parallel":
            raise impossible(
                "model.norm_position",
                "deep",
                "DeepNorm's α and β are derived for attention and feed-forward one after the other: model.block=serial "
                "would do",
            )
        if self.norm_position == "deep" and self.norm == "rms":
            raise impossible("model.norm_position", "deep", "DeepNorm is a LayerNorm: model.norm=layer would do")
        if self.norm_bias and self.norm == "rms":
            raise impossible("model.norm_bias", True, "RMSNorm has no bias: model.norm=layer would do")
        if self.experts and self.biases:
            raise impossible("model.biases", True, "experts have none: model.biases=false would do")
        periods = {
            "model.experts.every": self.expert_period,
            "model.attention.every": self.attention.period(self.layers),
        }
        for key, every in periods.items():
            if self.layers % every:
                fits = [str(n) for n in range(1, self.layers + 1) if self.layers % n == 0]
                raise impossible(key, every, f"must divide model.layers {self.layers}: one of {', '.join(fits)}")
        self.attention.check(self.layers)
        if not self.attention.suits(self.positions):
            raise impossible(
                "model.positions.name",
                self.positions.name,
                f"is a matter of distances, which {self.attention.name} attention does not know of all positions: "
                "rotary would do",
            )
        return self

    @property
    def query_size(self) -> int:
        """Returns Q, the size of one head."""
        assert self.head_size is not None
        return self.head_size

    @property
    def feedforward_size(self) -> int:
        """Returns F, the inner width of a dense feed-forward layer."""
        assert self.d_ff is not None
        return self.d_ff

    @property
    def logit_divisor(self) -> float:
        """Returns what the logits are divided by: √D for a tied embedding, else 1."""
        return math.sqrt(self.d_model) if self.tied_embedding is True else 1.0

    @property
    def expert_size(self) -> int:
        """Returns the inner width of an expert."""
        assert self.experts is not None
        return self.experts.d_ff or self.feedforward_size

    @property
    def expert_feedforward(self) -> Feedforward:
        """Returns the activation of an expert."""
        assert self.experts is not None
        return self.experts.feedforward or self.feedforward

    @property
    def expert_period(self) -> int:
        """Returns the number of layers from one with experts to the next; 1 if there are none."""
        return self.experts.every if self.experts else 1

    @property
    def period(self) -> int:
        """Returns the number of layers after which their kinds repeat."""
        return math.lcm(self.expert_period, self.attention.period(self.layers))

    def has_experts(self, layer: int) -> bool:
        """Returns whether a layer's feed-forward is a mixture of experts."""
        return self.experts is not None and layer % self.experts.every == self.experts.every - 1

    def attention_of(self, layer: int) -> Attention:
        """Returns the attention of a layer."""
        return self.attention.of_layer(layer, self.layers)
