"""Opens an export in llama.cpp and answers what it computes: llamacpp.py FOLDER QUESTION ANSWER.

QUESTION and ANSWER are those of huggingface.py, except that `logits` holds the log-probabilities [prompts, V] of the
token after each prompt: the server of llama.cpp gives no more. Keys and values are kept in float32.
"""

import json
import sys
import urllib.request
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import xllamacpp


def main(folder: str, question: str, answer: str) -> None:
    """Answers a question about the model in a folder."""
    asked = json.loads(Path(question).read_text())
    settings = xllamacpp.CommonParams()
    settings.model.path = str(Path(folder) / "model.gguf")
    settings.n_ctx = len(asked["prompts"][0]) + asked["tokens"] + 8
    settings.n_parallel = 1
    settings.warmup = False
    settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = xllamacpp.Server(settings)
    completion, tokenize = (f"{server.listening_address}/{path}" for path in ("completion", "tokenize"))
    # Probabilities are given with whole characters only, and before biases: so the token is a letter.
    letter = posted(tokenize, {"content": "e", "add_special": False})["tokens"][-1]
    logits, greedy = [], []
    for prompt in asked["prompts"]:
        greedily = {"prompt": prompt, "temperature": 0, "cache_prompt": False}
        forced = {"n_predict": 1, "n_probs": asked["vocabulary"], "logit_bias": [[letter, 1e4]]}
        first = posted(completion, greedily | forced)["completion_probabilities"][0]["top_logprobs"]
        row = np.full(asked["vocabulary"], np.nan, np.float32)
        row[[each["id"] for each in first]] = [each["logprob"] for each in first]
        logits.append(row)
        wanted = {"n_predict": asked["tokens"], "return_tokens": True}
        greedy.append(posted(completion, greedily | wanted)["tokens"])
    ids = [
        posted(tokenize, {"content": text, "add_special": True, "parse_special": False})["tokens"]
        for text in asked["texts"]
    ]
    versions = f"llama.cpp in xllamacpp {metadata.version('xllamacpp')}"
    np.savez(answer, logits=np.stack(logits), greedy=json.dumps(greedy), ids=json.dumps(ids), versions=versions)


def posted(address: str, body: dict[str, Any]) -> Any:
    """Returns the server's answer to a request."""
    request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        return json.load(response)


if __name__ == "__main__":
    main(*sys.argv[1:])
