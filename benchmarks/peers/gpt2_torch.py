"""The peer of five_minutes.py: GPT-2's decoder in compiled PyTorch, trained until a deadline.

Run by gpt2.py in a virtual environment of its own: `gpt2_torch.py TEXT DEADLINE SEED SETTINGS`. TEXT is a JSON file
with two lists of documents, "train" and "held_out"; DEADLINE is in seconds since the epoch; SETTINGS is JSON. It trains
a byte-level BPE vocabulary, encodes the text, and takes steps of AdamW on windows drawn at random. The rate warms up
and then falls along a cosine of the time, so that it is near zero at the deadline, whatever the machine. What follows
the deadline is not part of the race: it scores all held-out text, and prints its figures as one line of JSON.
"""

# mypy: disable-error-code="import-not-found"

import json
import math
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn

END = "<|end|>"
WARMUP = 50
"""The steps in which the rate rises."""


@dataclass(frozen=True)
class Settings:
    """The settings that gpt2.py chooses."""

    layers: int
    width: int
    heads: int
    vocabulary: int
    length: int
    batch: int
    rate: float
    type: str
    mode: str
    """The mode of torch.compile, or "eager"."""


class Layer(nn.Module):  # type: ignore[misc]
    """Attention and then a feed-forward, each after a norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width, bias=False) for _ in range(2))
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.attended = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.project(self.norms[0](x)).chunk(3, -1)
        )
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attended(attended.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norms[1](x))))


class GPT2(nn.Module):  # type: ignore[misc]
    """GPT-2 with learned positions, a tied embedding and no biases."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.embedding = nn.Embedding(settings.vocabulary, settings.width)
        self.positions = nn.Embedding(settings.length, settings.width)
        self.layers = nn.ModuleList(Layer(settings.width, settings.heads) for _ in range(settings.layers))
        self.norm = nn.LayerNorm(settings.width, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                onto_stream = name.endswith(("attended.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / (math.sqrt(2 * settings.layers) if onto_stream else 1))

    def forward(self, inputs: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
        x = self.embedding(inputs) + self.positions.weight[: inputs.shape[1]]
        for layer in self.layers:
            x = layer(x)
        logits = F.linear(self.norm(x), self.embedding.weight)
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction=reduction, ignore_index=-1)


def train_vocabulary(texts: list[str], size: int) -> Tokenizer:
    """Returns a lossless vocabulary: every byte is a token, and the text is not normalized."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, special_tokens=[END], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    # A text that spells the end is text.
    tokenizer.encode_special_tokens = True
    return tokenizer


def stream(tokenizer: Tokenizer, texts: list[str]) -> Tensor:
    """Returns the ids of all documents, each after an end, with an end after the last."""
    end = tokenizer.token_to_id(END)
    encoded = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    ids = [np.array([end, *each.ids]) for each in encoded]
    return torch.from_numpy(np.concatenate([*ids, [end]]))


def train(model: GPT2, tokens: Tensor, settings: Settings, deadline: float) -> tuple[int, float]:
    """Takes steps until the deadline; returns their number and the tokens/s after the first, which compiles."""
    decayed = [parameter for parameter in model.parameters() if parameter.ndim == 2]
    others = [parameter for parameter in model.parameters() if parameter.ndim != 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings.rate, betas=(0.9, 0.95), fused=True)
    compiled = model if settings.mode == "eager" else torch.compile(model, dynamic=False, mode=settings.mode)
    places = torch.arange(settings.length + 1)
    steps, begun, seconds = 0, time.time(), 0.0
    while (now := time.time()) + seconds < deadline:
        progress = (now - begun) / (deadline - begun)
        rate = settings.rate * min((steps + 1) / WARMUP, 0.5 * (1 + math.cos(math.pi * progress)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        windows = tokens[torch.randint(len(tokens) - settings.length, (settings.batch, 1)) + places]
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.type == "bfloat16"):
            loss = compiled(windows[:, :-1], windows[:, 1:])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        optimizer.step()
        steps += 1
        if steps == 1:
            begun = time.time()
        else:
            seconds = time.time() - now
    return steps, (steps - 1) * settings.batch * settings.length / max(time.time() - begun, 1e-9)


def score(model: GPT2, tokens: Tensor, length: int, at_once: int = 16) -> float:
    """Returns the nats of all tokens but the first, in float32. A window begins with the last token before it."""
    total = 0.0
    with torch.no_grad():
        for start in range(0, len(tokens) - 1, length * at_once):
            part = tokens[start : start + length * at_once + 1]
            rest = -(len(part) - 1) % length
            inputs, targets = F.pad(part[:-1], (0, rest)), F.pad(part[1:], (0, rest), value=-1)
            total += float(model(inputs.view(-1, length), targets.view(-1, length), "sum"))
    return total


def main() -> None:
    text, deadline, seed, chosen = sys.argv[1:]
    settings = Settings(**json.loads(chosen))
    torch.set_num_threads(os.cpu_count() or 1)
    torch.set_flush_denormal(True)
    torch.manual_seed(int(seed))
    texts = json.loads(Path(text).read_text())
    tokenizer = train_vocabulary(texts["train"], settings.vocabulary)
    model = GPT2(settings).train()
    steps, speed = train(model, stream(tokenizer, texts["train"]), settings, float(deadline))
    late = time.time() - float(deadline)
    held_out: list[str] = texts["held_out"]
    decoded = tokenizer.decode_batch([each.ids for each in tokenizer.encode_batch_fast(held_out)])
    assert decoded == held_out, "the vocabulary is lossless"
    nats = score(model, stream(tokenizer, held_out), settings.length)
    size = sum(len(document.encode()) for document in held_out)
    figures = {"steps": steps, "tokens_per_second": speed, "late": late, "bytes": size}
    print(json.dumps({**asdict(settings), **figures, "bits_a_byte": nats / math.log(2) / size}))


if __name__ == "__main__":
    main()
