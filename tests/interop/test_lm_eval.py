"""Tests that lm-eval's own model for Hugging Face opens an export, and gives continuations the likelihoods of ours."""

import json
import os
import subprocess
from pathlib import Path

import jax
import numpy as np
import pytest

from palmetto.evaluation.join import join
from palmetto.interop import check, peer
from palmetto.interop.export import export
from palmetto.interop.source import Source
from palmetto.model.parameters import parameter_table
from palmetto.training.checkpoint import Checkpoints
from tests.references import exported

PYTHON = exported.PEERS["huggingface"].with_name(".venv-lmeval") / "bin" / "python"
PAIRS = (("def add(", "self, *args)"), ("    return ", "self"), ("Größe 日本", " é\n"))
ASK = """
import json, sys
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
model = HFLM(sys.argv[1], device="cpu", dtype="float32", batch_size=1, add_bos_token=True, trust_remote_code=True)
asked = [Instance("loglikelihood", {}, tuple(pair), n) for n, pair in enumerate(json.loads(sys.argv[2]))]
print(json.dumps(model.loglikelihood(asked)))
"""


@pytest.mark.slow
@pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-lmeval, an environment with lm-eval, torch and transformers")
@pytest.mark.parametrize("kind", ["PaLM", "Gopher"])
def test_lm_eval_gives_our_likelihoods(kind: str, tmp_path: Path) -> None:
    run = exported.made(tmp_path / "run", exported.of_kind(kind))
    export(run, "huggingface", tmp_path / "out", None, "float32")
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    command = [str(PYTHON), "-c", ASK, str(tmp_path / "out"), json.dumps(PAIRS)]
    asked = subprocess.run(command, check=True, capture_output=True, text=True, env=offline)
    found = json.loads(asked.stdout.splitlines()[-1])
    source = Source(run, Checkpoints(run.checkpoints, parameter_table(run.recipe)), 10)
    for (context, continuation), (likelihood, greedy) in zip(PAIRS, found, strict=True):
        joined = join(source.vocabulary, context, continuation)
        ids, first = [*joined.context, *joined.continuation], len(joined.context)
        question = peer.Question([ids], [ids[:1]], 1, [], 0, source.recipe.model_vocabulary)
        logits = check.answer(source, source.rounded("float32"), question).logits[0, first - 1 : -1]
        ours = np.asarray(jax.nn.log_softmax(logits))[range(len(ids) - first), joined.continuation]
        assert likelihood == pytest.approx(float(ours.sum()), abs=1e-4)
        assert greedy == (logits.argmax(-1).tolist() == list(joined.continuation))
