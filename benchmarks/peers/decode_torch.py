"""Transformers' `generate` continues prompts on request (decode_cpu.py), on "threads" threads.

decode_torch.py FOLDER eager|compile
"""

import sys
import time
from typing import Any

import torch
from asked import answer
from transformers import AutoModelForCausalLM

FOLDER, MODE = sys.argv[1:3]


def main() -> None:
    model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()
    if MODE == "compile":
        model.forward = torch.compile(model.forward)
    cache = {"cache_implementation": "static"} if MODE == "compile" else {}

    def continued(question: dict[str, Any]) -> dict[str, Any]:
        torch.set_num_threads(int(question["threads"]))
        prompts, new = torch.tensor(question["prompts"]), question["new"]
        settings = {"max_new_tokens": new, "min_new_tokens": new, "do_sample": False, "pad_token_id": 0, **cache}
        start = time.perf_counter()
        with torch.inference_mode():
            result = model.generate(prompts, attention_mask=torch.ones_like(prompts), **settings)
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "tokens": result[0, prompts.shape[1] :].tolist()}

    answer(continued)


if __name__ == "__main__":
    main()
