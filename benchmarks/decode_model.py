"""Makes the runs of decode_cpu.py, with random weights, and their exports for each peer."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from palmetto.corpus import documents
from palmetto.recipe import loading
from palmetto.runs.directory import RunDirectory
from palmetto.tokens.vocabulary import Vocabulary

TARGETS = {"ctranslate2": "ctranslate2", "llamacpp": "gguf", "torch": "huggingface"}
"""The export that each peer opens."""
# Float32 on every side; all peers know vocabularies of byte pairs.
OVERRIDES = ("model.activations=float32", "tokens.vocabulary=bpe", "tokens.sequence_length=1024")
TEXT_BYTES = 30 << 20
"""The text that a vocabulary is trained on."""


class Made(NamedTuple):
    """Holds a run and the folder of its exports."""

    size: str
    run: RunDirectory
    exports: Path
    vocabulary: int
    """The number of tokens."""


def prepared(size: str, folder: Path, peers: Sequence[str]) -> Made:
    """Returns the run of a size, and makes what of it and its exports is not there."""
    recipe = loading.load(f"palm-{size}", OVERRIDES)
    made = Made(size, RunDirectory(folder / size), folder / f"{size}-exports", recipe.tokens.vocabulary_size)
    if not (made.run.path / "complete").exists():
        from tests.references import exported

        print(f"making a run of palm-{size}", flush=True)
        texts, length = list[str](), 0
        for document in documents.read(documents.PYTHON, recipe.corpus.section_bytes):
            if length < TEXT_BYTES:
                texts.append(document.text)
                length += document.size
        exported.made(made.run.path, recipe, words=Vocabulary.train(texts, made.vocabulary, "bpe"))
        (made.run.path / "complete").touch()
    for peer in peers:
        out = made.exports / TARGETS[peer]
        if not out.exists():
            from palmetto.interop.export import export

            print(f"exporting it for {peer}", flush=True)
            export(made.run, TARGETS[peer], out, None, "float32")
    return made
