"""Holds what PyTorch's peers have in common: AdamW, clipped gradients, and steps when told to (race.py)."""

import sys
import time
from collections.abc import Callable

import torch


def take_steps(model: torch.nn.Module, loss: Callable[[int], torch.Tensor]) -> None:
    """Trains on loss(number of a step). Prints the seconds of the first step, then for each line on standard input
    takes that many and prints their seconds."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, fused=True
    )

    def timed(steps: int) -> float:
        start = time.perf_counter()
        for number in range(steps):
            optimizer.zero_grad(set_to_none=True)
            result = loss(number)
            result.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
            optimizer.step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - start

    print(timed(1), flush=True)
    for line in sys.stdin:
        print(timed(int(line)), flush=True)
