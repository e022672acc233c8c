"""Trains a model on the answers of a small set, by the commands, and finds that it knows them."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from palmetto.files import write_text

COLOURS = ["red", "blue", "green", "gold", "pink", "grey"]
ANIMALS = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "kite", "lion", "mole", "newt"]
RECIPE = """
tokens: {vocabulary_size: 330, sequence_length: 32}
model: {layers: 2, d_model: 64, heads: 2}
training: {steps: 240, batch_size: 32, micro_batch: 8, schedule: {cooldown: {share: 0.5}}}
"""
CONTEXT = 'context: "Question: What colour is the {animal}?\\nAnswer:"\n'
TASKS = {
    "chosen": "options: options\ngold: colour\n",
    "said": "answers: colour\n",
    "wrong": "options: options\ngold: other\n",
}


def command(*arguments: object) -> Any:
    """Returns what a command prints as JSON."""
    line = [sys.executable, "-m", "palmetto", *map(str, arguments), "--json"]
    return json.loads(subprocess.run(line, check=True, capture_output=True).stdout)


@pytest.mark.slow
def test_a_model_that_was_trained_on_the_answers_knows_them(tmp_path: Path) -> None:
    choose = random.Random(0)
    colours = [choose.sample(COLOURS, 2) for _ in ANIMALS]
    records = [
        {"animal": animal, "options": COLOURS, "colour": colour, "other": other}
        for animal, (colour, other) in zip(ANIMALS, colours, strict=True)
    ]
    write_text(tmp_path / "sets" / "animals.jsonl", "\n".join(map(json.dumps, records)))
    texts = [f"Question: What colour is the {record['animal']}?\nAnswer: {record['colour']}\n" for record in records]
    # Equal documents are held out together, so each has a number.
    documents = [f"{choose.choice(texts)}{number}" for number in range(12_000)]
    write_text(tmp_path / "text.jsonl", "\n".join(json.dumps({"text": text}) for text in documents))
    write_text(tmp_path / "recipe.yaml", RECIPE)
    for name, lines in TASKS.items():
        write_text(tmp_path / f"{name}.yaml", f"name: {name}\nfile: animals.jsonl\n{CONTEXT}{lines}")
    command("run", tmp_path / "recipe.yaml", "--run", tmp_path / "run", "--source", tmp_path / "text.jsonl")
    names = ",".join(str(tmp_path / f"{name}.yaml") for name in TASKS)
    out = tmp_path / "out"
    scores = command("eval", tmp_path / "run", "--tasks", names, "--data", tmp_path / "sets", "--out", out)["tasks"]
    assert {name: scores[name]["value"] for name in TASKS} == {"chosen": 100.0, "said": 100.0, "wrong": 0.0}
    assert scores["chosen"]["interval"][0] > scores["chosen"]["chance"]
    assert command("verify", out)["verified"]
    [measured] = command("memorization", tmp_path / "run", "--length", 16, "--spans", 40)["runs"]
    assert measured["step"] == 240
    assert sum(row["spans"] for row in measured["rows"]) == 80
