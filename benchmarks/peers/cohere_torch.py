"""The peer of train_cpu.py: transformers' CohereForCausalLM, which is PaLM's architecture, trained by PyTorch.

    cohere_torch.py eager|compile|max-autotune float32|bfloat16 LAYERS WIDTH HEADS VOCABULARY LENGTH BATCH

Run by train_cpu.py in a virtual environment of its own.
"""

import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from torch_steps import take_steps
from transformers import CohereConfig, CohereForCausalLM


def main() -> None:
    mode, dtype = sys.argv[1:3]
    layers, width, heads, vocabulary, length, batch = map(int, sys.argv[3:])
    torch.set_num_threads(os.cpu_count() or 1)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    config = CohereConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=1,
        max_position_embeddings=length,
        logit_scale=width**-0.5,
        attention_bias=False,
        tie_word_embeddings=True,
        use_cache=False,
        eos_token_id=None,
    )
    config._attn_implementation = "sdpa"
    model = CohereForCausalLM(config).train()
    compiling = {"eager": None, "compile": "default", "max-autotune": "max-autotune"}[mode]
    forward = torch.compile(model, dynamic=False, mode=compiling) if compiling else model
    batches = [torch.randint(0, vocabulary, (batch, length)) for _ in range(3)]

    def loss(number: int) -> torch.Tensor:
        tokens = batches[number % len(batches)]
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            return forward(input_ids=tokens, labels=tokens, use_cache=False).loss

    take_steps(model, loss)


if __name__ == "__main__":
    main()
