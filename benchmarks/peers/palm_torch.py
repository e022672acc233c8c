"""The peer of train_gpu.py: PaLM as PyTorch does it best, compiled, with a fused attention kernel, in bfloat16.

Parameters, their gradients and AdamW's moments are float32, activations bfloat16, statistics and losses float32, as in
Palmetto. The projections of attention and feed-forward are one product.

    palm_torch.py flash|cudnn|math LAYERS WIDTH HEADS VOCABULARY LENGTH BATCH

Run by train_gpu.py with the interpreter that has PyTorch.
"""

import math
import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch_steps import take_steps

BACKENDS = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION, "math": SDPBackend.MATH}


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    a, b = x.float().chunk(2, dim=-1)
    return torch.cat([a * cosines - b * sines, a * sines + b * cosines], dim=-1).to(x.dtype)


class Layer(nn.Module):  # type: ignore[misc]
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size, self.inner = heads, width // heads, 4 * width
        self.norm = nn.LayerNorm(width, bias=False)
        self.project = nn.Linear(width, width + 2 * self.size + 2 * self.inner, bias=False)
        self.attended = nn.Linear(width, width, bias=False)
        self.down = nn.Linear(self.inner, width, bias=False)

    def forward(self, x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        parts = [self.heads * self.size, self.size, self.size, self.inner, self.inner]
        q, k, v, gate, up = self.project(self.norm(x)).split(parts, dim=-1)
        q, k, v = (part.unflatten(-1, (-1, self.size)).transpose(1, 2) for part in (q, k, v))
        q, k = rotate(q, cosines, sines), rotate(k, cosines, sines)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        fed = self.down(F.silu(gate) * up)
        return x + self.attended(attended.transpose(1, 2).flatten(2)) + fed


class PaLM(nn.Module):  # type: ignore[misc]
    def __init__(self, layers: int, width: int, heads: int, vocabulary: int, length: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width, bias=False)
        size = width // heads
        angles = torch.outer(torch.arange(length), 10000.0 ** (-torch.arange(0, size, 2) / size))
        self.register_buffer("cosines", angles.cos())
        self.register_buffer("sines", angles.sin())
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=1 / math.sqrt(parameter.shape[1]))
        nn.init.normal_(self.embedding.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens[:, :-1]).to(torch.get_autocast_dtype(tokens.device.type))
        for layer in self.layers:
            x = layer(x, self.cosines, self.sines)
        logits = F.linear(self.norm(x), self.embedding.weight) / math.sqrt(x.shape[-1])
        return F.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())


def main() -> None:
    layers, width, heads, vocabulary, length, batch = map(int, sys.argv[2:])
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = PaLM(layers, width, heads, vocabulary, length).to(device)
    compiled = torch.compile(model, dynamic=False)
    batches = [torch.randint(0, vocabulary, (batch, length + 1), device=device) for _ in range(3)]

    def loss(number: int) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16), sdpa_kernel(BACKENDS[sys.argv[1]]):
            return compiled(batches[number % len(batches)])

    take_steps(model, loss)


if __name__ == "__main__":
    main()
