"""Opens an export in transformers and answers what it computes: huggingface.py FOLDER QUESTION ANSWER.

It runs in an environment of its own and imports nothing of Palmetto. QUESTION is JSON with `windows`, lists of ids,
`tokens`, the number to generate after each prompt of `prompts`, and `texts`. ANSWER becomes an .npz file with `logits`
float32 [windows, T, V], `greedy` and `ids`, both lists in JSON, and `versions`.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer


def main(folder: str, question: str, answer: str) -> None:
    """Answers a question about the model in a folder, which is computed in float32."""
    asked = json.loads(Path(question).read_text())
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=True).eval()
    with torch.no_grad():
        windows = torch.tensor(asked["windows"])
        logits = model(windows, **prefix(asked, len(windows))).logits.numpy()
        greedy = [
            model.generate(
                torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
                max_new_tokens=asked["tokens"],
                do_sample=False,
                **prefix(asked, 1),
            )[0, len(prompt) :].tolist()
            for prompt in asked["prompts"]
        ]
    ids = [tokenizer(text)["input_ids"] for text in asked["texts"]]
    versions = f"transformers {transformers.__version__}, torch {torch.__version__}"
    np.savez(answer, logits=logits, greedy=json.dumps(greedy), ids=json.dumps(ids), versions=versions)


def prefix(asked: dict[str, Any], sequences: int) -> dict[str, torch.Tensor]:
    """Returns the argument for a prefix, which is as long as a prompt, if the model has one."""
    return {"prefix": torch.full((sequences,), asked["prefix"])} if asked["prefix"] else {}


if __name__ == "__main__":
    main(*sys.argv[1:])
