"""The peer of train_cpu.py: transformers' CohereForCausalLM, which is PaLM's architecture, trained by PyTorch.

Run by train_cpu.py in a virtual environment of its own: `cohere_torch.py eager|compile float32|bfloat16`.
"""

import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from torch_steps import take_steps
from transformers import CohereConfig, CohereForCausalLM

LAYERS, WIDTH, HEADS, VOCABULARY, LENGTH, BATCH = 6, 384, 6, 8192, 512, 8


def main() -> None:
    mode, dtype = sys.argv[1:3]
    torch.set_num_threads(os.cpu_count() or 1)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    config = CohereConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=1,
        max_position_embeddings=LENGTH,
        logit_scale=WIDTH**-0.5,
        attention_bias=False,
        tie_word_embeddings=True,
        use_cache=False,
    )
    config._attn_implementation = "sdpa"
    model = CohereForCausalLM(config).train()
    forward = torch.compile(model, dynamic=False) if mode == "compile" else model
    batches = [torch.randint(0, VOCABULARY, (BATCH, LENGTH)) for _ in range(3)]

    def loss(number: int) -> torch.Tensor:
        tokens = batches[number % len(batches)]
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            return forward(input_ids=tokens, labels=tokens, use_cache=False).loss

    take_steps(model, loss)


if __name__ == "__main__":
    main()
