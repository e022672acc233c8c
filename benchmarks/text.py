"""The text of a run as documents, split as the run splits it, for programs that have vocabularies of their own."""

import json
from pathlib import Path

import numpy as np

from palmetto.corpus import documents
from palmetto.corpus.documents import Document
from palmetto.recipe.corpus import Corpus
from palmetto.runs.directory import RunDirectory
from palmetto.tokens.store import TokenStore
from palmetto.tokens.vocabulary import Vocabulary


def held_out(run: RunDirectory) -> list[Document]:
    """Returns the held-out documents of a run that has tokens, in the order of its store."""
    vocabulary = Vocabulary.load(run.vocabulary)
    store = TokenStore.open(run.validation_store, vocabulary_digest=vocabulary.digest)
    tokens = store.stretch(0, store.header.tokens)
    ends = np.flatnonzero(tokens == vocabulary.eod)
    return [Document(vocabulary.decode(ids), "held out") for ids in np.split(tokens, ends + 1)[:-1]]


def write_split(run: RunDirectory, corpus: Corpus, file: Path) -> None:
    """Writes the text of a run that has tokens as JSON: the documents of "train" and those of "held_out"."""
    assert corpus.source is not None, "the recipe names its text"
    apart = [document.text for document in held_out(run)]
    known = set(apart)
    read = documents.read(corpus.source, corpus.section_bytes)
    file.write_text(json.dumps({"train": [each.text for each in read if each.text not in known], "held_out": apart}))
