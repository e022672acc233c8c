"""Opens an export in CTranslate2 and answers what it computes: ctranslate2_.py FOLDER QUESTION ANSWER.

QUESTION and ANSWER are those of huggingface.py; CTranslate2 has no tokenizer, so that `ids` is null. Float types are
computed in float32, int8 in int8.
"""

import json
import sys
from pathlib import Path

import ctranslate2
import numpy as np


def main(folder: str, question: str, answer: str) -> None:
    """Answers a question about the model in a folder."""
    asked = json.loads(Path(question).read_text())
    names = json.loads((Path(folder) / "vocabulary.json").read_text())
    quantized = json.loads((Path(folder) / "palmetto.json").read_text())["dtype"] == "int8"
    generator = ctranslate2.Generator(folder, compute_type="int8" if quantized else "float32")
    logits = np.array(generator.forward_batch(asked["windows"]), np.float32)
    found = generator.generate_batch(
        [[names[id] for id in prompt] for prompt in asked["prompts"]],
        max_length=asked["tokens"],
        sampling_topk=1,
        include_prompt_in_result=False,
    )
    greedy = json.dumps([each.sequences_ids[0] for each in found])
    np.savez(answer, logits=logits, greedy=greedy, ids="null", versions=f"CTranslate2 {ctranslate2.__version__}")


if __name__ == "__main__":
    main(*sys.argv[1:])
