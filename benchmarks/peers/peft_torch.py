"""The peer of finetuning.py: an exported model, fine-tuned by transformers and peft in float32.

    peft_torch.py EXPORTED GIVEN.json

Run by finetuning.py in a virtual environment of its own.
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

NAMES = {name: f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down")}
"""transformers' names of the weights that adapters may have."""
IGNORED = -100


def main() -> None:
    exported, given = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    torch.set_num_threads(os.cpu_count() or 1)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(exported, dtype=torch.float32, attn_implementation="sdpa").train()
    if lora := given["lora"]:
        rank, targets = lora["rank"], [NAMES[name] for name in lora["weights"]]
        model = get_peft_model(model, LoraConfig(r=rank, lora_alpha=lora["alpha"] or rank, target_modules=targets))
    optimizer = torch.optim.AdamW(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=given["rates"][0],
        betas=(given["optimizer"]["b1"], given["optimizer"]["b2"]),
        eps=given["optimizer"]["epsilon"],
        weight_decay=given["optimizer"]["weight_decay"],
        fused=True,
    )
    batches = [padded(examples) for examples in given["batches"]]
    taken, losses = 0, []

    def timed(steps: int) -> float:
        nonlocal taken
        start = time.perf_counter()
        for _ in range(steps):
            tokens, mask, labels = batches[taken % len(batches)]
            optimizer.zero_grad(set_to_none=True)
            optimizer.param_groups[0]["lr"] = given["rates"][taken % len(batches)]
            loss = model(input_ids=tokens, attention_mask=mask, labels=labels, use_cache=False).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
            optimizer.step()
            losses.append(loss.item())
            taken += 1
        return time.perf_counter() - start

    print(timed(1), flush=True)
    for line in sys.stdin:
        print(timed(int(line)), flush=True)
    print(f"peft: loss {losses[0]:.5f} at first, {losses[-1]:.5f} after {taken} steps", file=sys.stderr)


def padded(examples: list[tuple[list[int], list[bool]]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns tokens, attention mask and labels, [examples, the longest]."""
    longest = max(len(tokens) for tokens, _ in examples)
    tokens = torch.zeros(len(examples), longest, dtype=torch.long)
    mask, labels = torch.zeros_like(tokens), torch.full_like(tokens, IGNORED)
    for row, (ids, predicted) in enumerate(examples):
        tokens[row, : len(ids)], mask[row, : len(ids)] = torch.tensor(ids), 1
        labels[row, : len(ids)] = torch.where(torch.tensor(predicted), torch.tensor(ids), IGNORED)
    return tokens, mask, labels


if __name__ == "__main__":
    main()
