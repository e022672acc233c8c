"""Palmetto's decoder in PyTorch: every choice of a recipe's model, for transformers' AutoModelForCausalLM.

The file stands beside the weights of an export and needs nothing else of Palmetto. Weights have the names and shapes of
Palmetto's checkpoints: kernels are [n_in, n_out], and rotary pairs lie side by side. Sequences of a batch have the same
length; a mask with padding is refused.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicCache
from transformers.modeling_outputs import CausalLMOutputWithPast

EPSILON = 1e-5
ACTIVATIONS = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "swish": functional.silu,
    "glu": torch.sigmoid,
    "geglu": functional.gelu,
    "swiglu": functional.silu,
}


class PalmettoConfig(PretrainedConfig):  # type: ignore[misc]
    """Holds a recipe's model section, and the shape of every weight by name, with the layers that have it."""

    model_type = "palmetto"

    def __init__(
        self,
        recipe_model: dict[str, Any] | None = None,
        weights: dict[str, dict[str, Any]] | None = None,
        **others: Any,
    ) -> None:
        self.recipe_model, self.weights = recipe_model or {}, weights or {}
        self.num_hidden_layers = self.recipe_model.get("layers", 0)
        self.hidden_size = self.recipe_model.get("d_model", 0)
        super().__init__(**others)


def normalized(weights: nn.Module, name: str, x: Tensor, kind: str) -> Tensor:
    """Returns x with LayerNorm or RMSNorm over the last axis, and the scale and bias of this name applied."""
    wide = x.float()
    if kind == "layer":
        wide = wide - wide.mean(-1, keepdim=True)
    wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + EPSILON)
    y, bias = wide.to(x.dtype) * getattr(weights, name), getattr(weights, f"{name}_bias", None)
    return y if bias is None else y + bias


def projected(weights: nn.Module, name: str, x: Tensor) -> Tensor:
    """Returns x times the kernel of this name, with its bias if it has one."""
    y, bias = x @ getattr(weights, name), getattr(weights, f"{name}_bias", None)
    return y if bias is None else y + bias


def sinusoids(positions: Tensor, width: int) -> Tensor:
    """Returns the sines, then the cosines, of position · 10000^(−2i/width), float32 [..., width]."""
    steps = torch.arange(0, width, 2, dtype=torch.float32, device=positions.device)
    angles = positions.float()[..., None] * 10000.0 ** (-steps / width)
    return torch.cat([angles.sin(), angles.cos()], -1)


def rotated(x: Tensor, positions: Tensor, how: dict[str, Any]) -> Tensor:
    """Returns x [B, T, heads, Q] with the pairs of each head rotated by the angles of its position [T]."""
    size, base = x.shape[-1], how["base"]
    if how["scaling"] == "ntk":
        base *= how["factor"] ** (size / max(size - 2, 1))
    frequencies = base ** (-torch.arange(0, size, 2, dtype=torch.float32, device=x.device) / size)
    if how["scaling"] == "interpolation":
        frequencies = frequencies / how["factor"]
    elif how["scaling"] == "truncated":
        frequencies = torch.where(frequencies * how["trained"] >= 2 * math.pi, frequencies, 0.0)
    angles = (positions.float()[:, None] * frequencies)[:, None]
    a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()], -1)
    return turned.flatten(-2).to(x.dtype)


def slopes(heads: int) -> Tensor:
    """Returns ALiBi's slopes [H]."""
    whole = 1 << (heads.bit_length() - 1)

    def geometric(n: int) -> list[float]:
        return [2.0 ** (-8.0 / n * i) for i in range(1, n + 1)]

    return torch.tensor([*geometric(whole), *geometric(2 * whole)[::2][: heads - whole]])


def bucket(distances: Tensor, how: dict[str, Any]) -> Tensor:
    """Returns T5's bucket of each distance, query minus key."""
    held = how["buckets"] // 2 if how["bidirectional"] else how["buckets"]
    exact = held // 2
    size = distances.abs() if how["bidirectional"] else distances.clamp(min=0)
    ratio = torch.log(size.clamp(min=exact).float() / exact) / math.log(how["max_distance"] / exact)
    far = exact + (ratio * (held - exact)).to(torch.int64)
    found = torch.where(size < exact, size, far.clamp(max=held - 1))
    return torch.where((distances < 0) & how["bidirectional"], found + held, found)


class Layer(nn.Module):  # type: ignore[misc]
    """Holds the weights of a layer and applies it."""

    def __init__(self, config: PalmettoConfig, number: int) -> None:
        super().__init__()
        self.number, self.model = number, config.recipe_model
        for name, of in config.weights.items():
            if number in of["layers"]:
                values = [nn.Parameter(torch.empty(of["shape"])) for _ in range(of["experts"] or 1)]
                setattr(self, name, nn.ParameterList(values) if of["experts"] else values[0])
        attention = self.model["attention"]
        every = attention.get("every", 1)
        self.sight: dict[str, Any] = attention if number % every == every - 1 else {"name": "full"}
        if attention["name"] == "memory" and number != attention["layer"]:
            self.sight = {"name": "local", "window": attention["window"]}

    def forward(self, x: Tensor, positions: Tensor, cache: Any, prefix: Tensor | None) -> Tensor:
        """Returns the layer's output for x [B, T, D] at positions [T]."""
        if self.model["block"] == "parallel":
            h = self._before("norm", x)
            attended = self._after("norm_after", self._attend(h, positions, cache, prefix))
            return self._sum("norm", x, self._after("feedforward_norm_after", self._feed(h, cache is None)) + attended)
        attended = self._attend(self._before("norm", x), positions, cache, prefix)
        x = self._sum("norm", x, self._after("norm_after", attended))
        fed = self._feed(self._before("feedforward_norm", x), cache is None)
        return self._sum("feedforward_norm", x, self._after("feedforward_norm_after", fed))

    def _before(self, norm: str, x: Tensor) -> Tensor:
        pre = self.model["norm_position"] in ("pre", "sandwich")
        return normalized(self, norm, x, self.model["norm"]) if pre else x

    def _after(self, norm: str, y: Tensor) -> Tensor:
        return normalized(self, norm, y, self.model["norm"]) if self.model["norm_position"] == "sandwich" else y

    def _sum(self, norm: str, x: Tensor, y: Tensor) -> Tensor:
        if self.model["norm_position"] in ("pre", "sandwich"):
            return x + y
        alpha = (2 * self.model["layers"]) ** 0.25 if self.model["norm_position"] == "deep" else 1.0
        return normalized(self, norm, alpha * x + y, self.model["norm"])

    def _feed(self, h: Tensor, limited: bool) -> Tensor:
        if hasattr(self, "router"):
            return self._mix(h, limited)
        activate = ACTIVATIONS[self.model["feedforward"]]
        up = projected(self, "up", h)
        inner = activate(projected(self, "gate", h)) * up if hasattr(self, "gate") else activate(up)
        return projected(self, "down", inner)

    def _mix(self, h: Tensor, limited: bool) -> Tensor:
        """Returns the experts' output. An expert takes a sequence's first assignments if its room is limited."""
        experts, length = self.model["experts"], h.shape[1]
        activate = ACTIVATIONS[experts["feedforward"] or self.model["feedforward"]]
        best, chosen = torch.topk(h.float() @ self.router.float(), experts["top"])
        weights = best.softmax(-1)
        if limited and experts["capacity_factor"] is not None:
            room = math.ceil(experts["top"] * length / experts["count"] * experts["capacity_factor"])
            taken = functional.one_hot(chosen.flatten(1), experts["count"])
            place = (taken.cumsum(1) * taken).sum(-1).unflatten(1, chosen.shape[1:])
            weights = weights * (place <= room)
        mixed = torch.zeros_like(h)
        for number in range(experts["count"]):
            mine = (chosen == number) & (weights > 0)
            rows = mine.any(-1)
            if rows.any():
                part = h[rows]
                up = part @ self.expert_up[number]
                gated = hasattr(self, "expert_gate")
                inner = activate(part @ self.expert_gate[number]) * up if gated else activate(up)
                mixed[rows] += (weights * mine).sum(-1)[rows].to(h.dtype)[:, None] * (inner @ self.expert_down[number])
        return mixed

    def _attend(self, h: Tensor, positions: Tensor, cache: Any, prefix: Tensor | None) -> Tensor:
        model, how, size = self.model, self.model["positions"], self.model["head_size"]
        q, k, v = (projected(self, name, h).unflatten(-1, (-1, size)) for name in ("q", "k", "v"))
        if model["qk_norm"]:
            q, k = normalized(self, "q_norm", q, model["norm"]), normalized(self, "k_norm", k, model["norm"])
        q = q / math.sqrt(size)
        if how["name"] == "rotary":
            seen = seen_as(positions, model["attention"])
            q, k = rotated(q, seen, how), rotated(k, seen, how)
        if cache is not None:
            k, v = (x.transpose(1, 2) for x in cache.update(k.transpose(1, 2), v.transpose(1, 2), self.number))
        k, v = (x.repeat_interleave(q.shape[2] // x.shape[2], 2) for x in (k, v))
        weights = self._scores(q, k, positions, prefix).softmax(-1).to(v.dtype)
        return projected(self, "o", torch.einsum("bhts,bshq->bthq", weights, v).flatten(2))

    def _scores(self, q: Tensor, k: Tensor, positions: Tensor, prefix: Tensor | None) -> Tensor:
        """Returns the scores [B, H, T, S] of queries at positions [T] and all keys, −∞ where one is not seen."""
        how, sight, keys = self.model["positions"], self.sight, torch.arange(k.shape[1], device=q.device)
        rows, distances = positions[:, None], positions[:, None] - keys
        scores = products(q + self._scaled("u") if how["name"] == "transformer_xl" else q, k)
        name, window = sight["name"], sight.get("window", 0)
        if how["name"] == "rotary" and name in ("sinks", "memory"):
            at_edge = products(rotated(q, window - positions, how), rotated(k, -keys, how))
            edge = distances > window if name == "sinks" else distances >= window
            scores = torch.where(edge, at_edge, scores)
        apart = seen_as(positions, self.model["attention"])[:, None] - seen_as(keys, self.model["attention"])
        scores = scores + self._by_distance(q, apart if name != "sinks" else apart.clamp(max=window))
        visible = distances >= 0
        if name == "strided":
            visible &= (distances < sight["stride"]) | (distances % sight["stride"] == 0)
        elif name == "parallel_windows":
            visible &= (rows >= window * sight["count"]) | (rows // window == keys // window)
        elif name == "sinks":
            visible &= (distances < window) | (keys < sight["sinks"])
        elif name == "local":
            visible &= distances < window
        elif name == "memory":
            past = torch.where(distances >= window, scores, -torch.inf)
            best = past.topk(min(sight["neighbours"], k.shape[1]), -1)
            found = torch.zeros_like(past, dtype=torch.bool).scatter_(-1, best.indices, best.values > -torch.inf)
            visible = (visible & (distances < window)) | found
        if prefix is not None:
            ends = prefix[:, None, None, None]
            visible = visible | ((rows < ends) & (keys < ends))
        return torch.where(visible, scores, -torch.inf)

    def _by_distance(self, q: Tensor, distances: Tensor) -> Tensor:
        """Returns what positions add to the scores of distances [T, S]: broadcasts against [B, H, T, S]."""
        how = self.model["positions"]
        if how["name"] == "alibi":
            return -slopes(q.shape[2]).to(q.device)[:, None, None] * distances.abs()
        if how["name"] == "t5":
            return self.relative.float()[bucket(distances, how)].permute(2, 0, 1)
        if how["name"] == "transformer_xl":
            r = (sinusoids(distances, self.model["d_model"]) @ self.r.float()).unflatten(-1, q.shape[2:])
            return torch.einsum("bthq,tshq->bhts", (q + self._scaled("w")).float(), r)
        return torch.zeros((), device=q.device)

    def _scaled(self, name: str) -> Tensor:
        return getattr(self, name) / math.sqrt(self.model["head_size"])


def products(q: Tensor, k: Tensor) -> Tensor:
    """Returns the products of queries [B, T, H, Q] and keys [B, S, H, Q], float32 [B, H, T, S]."""
    return torch.einsum("bthq,bshq->bhts", q, k).float()


def seen_as(positions: Tensor, attention: dict[str, Any]) -> Tensor:
    """Returns the integers that count as positions: those in parallel windows start at 0 in each."""
    if attention["name"] != "parallel_windows":
        return positions
    window, end = attention["window"], attention["window"] * attention["count"]
    return torch.where(positions < end, positions % window, positions - end + window)


class PalmettoForCausalLM(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """Computes logits of the next token. `prefix` [B] is the number of first positions that see each other.

    With a cache, as in `generate`, experts take all tokens; without one they take what they have room for.
    """

    config_class = PalmettoConfig
    _no_split_modules = ("Layer",)
    _supports_cache_class = True

    def __init__(self, config: PalmettoConfig) -> None:
        super().__init__(config)
        self.ends = nn.Module()
        for name, of in config.weights.items():
            if not of["layers"]:
                setattr(self.ends, name, nn.Parameter(torch.empty(of["shape"])))
        self.layers = nn.ModuleList(Layer(config, number) for number in range(config.num_hidden_layers))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Leaves weights as they are: they are always read."""

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        prefix: Tensor | None = None,
        labels: Tensor | None = None,
        **_: Any,
    ) -> CausalLMOutputWithPast:
        """Returns the logits [B, T, V] of ids [B, T] that follow those in the cache."""
        if attention_mask is not None and not (attention_mask.ndim == 2 and attention_mask.all()):
            raise ValueError("attention_mask: expected none, or one of two axes without padding")
        model, ends = self.config.recipe_model, self.ends
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache()
        start = 0 if past_key_values is None else past_key_values.get_seq_length()
        positions = torch.arange(start, start + input_ids.shape[1], device=input_ids.device)
        x, how, seen = ends.embedding[input_ids], model["positions"], seen_as(positions, model["attention"])
        if how["name"] == "learned":
            x = x + ends.positions[seen]
        elif how["name"] == "sinusoidal":
            x = x + sinusoids(seen, x.shape[-1]).to(x.dtype)
        if model["embedding_norm"]:
            x = normalized(ends, "embedding_norm", x, model["norm"])
        for layer in self.layers:
            x = layer(x, positions, past_key_values, prefix)
        if model["norm_position"] in ("pre", "sandwich"):
            x = normalized(ends, "final_norm", x, model["norm"])
        if model["tied_embedding"] is True:
            x = x / math.sqrt(model["d_model"])
        logits = (x @ (ends.embedding.mT if model["tied_embedding"] else ends.output)).float()
        loss = None
        if labels is not None:
            loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=past_key_values)
