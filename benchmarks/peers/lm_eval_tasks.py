"""Runs lm-eval's own tasks on lm-eval's own model, with sets that lie in files instead of on a hub.

    .venv-lmeval/bin/python benchmarks/peers/lm_eval_tasks.py FOLDER SETS.json RESULTS.json

FOLDER is an export for Hugging Face. SETS.json holds {task: file}, each a file of records as lines of JSON with the
columns that the task expects. RESULTS.json holds {task: {"metrics": {name: share}, "right": [0 or 1, …]}}; `right` is
acc by example, in order.
"""

import json
import sys
from pathlib import Path

import lm_eval
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml


def main(folder: str, sets: Path, results: Path) -> None:
    """Evaluates, and writes scores and the examples behind them."""
    model, found = HFLM(folder, device="cpu", dtype="float32", batch_size=8), {}
    known = TaskManager().task_index
    for name, file in json.loads(sets.read_text()).items():
        files = dict.fromkeys(("train", "validation", "test"), file)
        local = {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": files}}
        task = load_yaml(known[name].yaml_path) | local
        done = lm_eval.simple_evaluate(model=model, tasks=[task], num_fewshot=0, bootstrap_iters=0)
        values = {key.partition(",")[0]: value for key, value in done["results"][name].items() if key.endswith(",none")}
        samples = sorted(done["samples"][name], key=lambda sample: sample["doc_id"])
        found[name] = {"metrics": values, "right": [sample["acc"] for sample in samples]}
    results.write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
