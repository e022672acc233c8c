"""The peer of train_cpu.py: transformers' CohereForCausalLM, which is PaLM's architecture, trained by PyTorch.

Run by train_cpu.py in a virtual environment of its own: `cohere_torch.py eager|compile float32|bfloat16`. Prints the
seconds of its first step, then for each line on standard input takes that many steps and prints their seconds.
"""

import os
import sys
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
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
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, fused=True
    )
    forward = torch.compile(model, dynamic=False) if mode == "compile" else model
    batches = [torch.randint(0, VOCABULARY, (BATCH, LENGTH)) for _ in range(3)]

    def step(number: int) -> None:
        tokens = batches[number % len(batches)]
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = forward(input_ids=tokens, labels=tokens, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        optimizer.step()

    def timed(steps: int) -> float:
        start = time.perf_counter()
        for number in range(steps):
            step(number)
        return time.perf_counter() - start

    print(timed(1), flush=True)
    for line in sys.stdin:
        print(timed(int(line)), flush=True)


if __name__ == "__main__":
    main()
