"""Repeats GLaM's experiment on its data in small (arXiv 2112.06905, section 6.2): filtered against unfiltered web text.

    .venv/bin/python benchmarks/quality_filter.py [--data FOLDER] [--steps 200] [--seeds 2] [--threads 1] [--out FOLDER]

A classifier learns to separate curated text (Wikipedia, books) from what fills a crawl (forums, text messages, wikis,
chats, code). One model is trained on pages of the crawl, including news and speeches, that are sampled by its score.
Another is trained on randomly chosen pages of as many bytes, for the same number of tokens and with the same
vocabulary. Both are evaluated on curated text that neither the classifier nor a model has seen. The classifier never
scores a page that it was trained on: one classifier is trained on each half of the pages and scores the other. The
program draws docs/images/quality-filter.png and prints the last losses in bits per byte.
"""

import argparse
import csv
import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from palmetto.corpus.documents import Document, cut
from palmetto.corpus.quality.classifier import Classifier
from palmetto.corpus.quality.sampling import draw
from palmetto.corpus.quality.training import SECTION_BYTES
from palmetto.host import environment
from palmetto.json_lines import read_json_lines
from palmetto.recipe import Recipe, loading
from palmetto.report.canvas import STYLE, canvas, label_ends, write_png
from palmetto.report.colours import LIGHT
from palmetto.runs.directory import RunDirectory
from palmetto.tokens import packing, store
from palmetto.tokens.vocabulary import Vocabulary
from palmetto.workflow import training

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "shared" / "data" / "corpus"
PICTURE = HERE.parent / "docs" / "images" / "quality-filter.png"
CURATED = ("wikipedia/enwiki_1000_short.jsonl", "wikipedia/factbook_countries.jsonl", "books/en")
NOISY = ("web", "conversations/topical_chat_valid_freq.jsonl", "conversations/schema_guided_dialogues.jsonl", "code")
OTHERS = (
    *("news/hhs_2018.jsonl", "news/hhs_2019.jsonl", "news/us_presidential_speeches.jsonl"),
    *("news/wikinews_en_2019.csv", "news/wikinews_en_2020.csv"),
)
RECIPE = """
name: quality-filter
tokens: {vocabulary: bpe, vocabulary_size: 4096, sequence_length: 256}
model: {layers: 4, d_model: 128, heads: 4}
training:
  batch_size: 8
  micro_batch: 1
  epochs: 100
  validation_windows: 128
  schedule: {name: inverse_sqrt, peak: 1e-2, hold: 100}
  evaluate_every: 20
  checkpoint_every: 1000
  digest_every: 1000
"""
COLOURS = {"filtered": "train", "unfiltered": "validation"}


class Section(NamedTuple):
    """A piece of a document; `part` is in [0, 1) and follows from the hash of the whole document."""

    name: str
    text: str
    part: float

    @property
    def size(self) -> int:
        return len(self.text.encode())


class Curve(NamedTuple):
    """Bits per byte of held-out curated text, by step."""

    name: str
    steps: list[int]
    bits: list[float]


def main() -> None:
    """Runs the experiment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--alpha", type=float, default=9.0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    curated, noisy = list(read(arguments.data, CURATED)), list(read(arguments.data, NOISY))
    web = [*noisy, *read(arguments.data, OTHERS)]
    held_out = [section for section in curated if section.part < 0.25]
    kept = filtered([section for section in curated if section.part >= 0.25], noisy, web, arguments.alpha)
    size = sum(section.size for section in kept)
    by_lot = taken_by_lot(web, size)
    print(f"curated: {len(curated):,} sections, {len(held_out):,} of them held out; web: {len(web):,} sections")
    print(f"filtered: {len(kept):,} sections, {size:,} bytes; unfiltered: {len(by_lot):,} sections of as many bytes")
    with tempfile.TemporaryDirectory() as folder:
        out = arguments.out or Path(folder)
        vocabulary = Vocabulary.train((section.text for section in web), 4096, "bpe")
        curves = []
        for seed in range(arguments.seeds):
            for name, sections in (("filtered", kept), ("unfiltered", by_lot)):
                overrides = (
                    f"training.steps={arguments.steps}",
                    f"training.seed={seed}",
                    f"training.threads={arguments.threads}",
                )
                run = RunDirectory(out / f"{name}-{seed}")
                curves.append(train(run, name, sections, held_out, vocabulary, overrides))
                print(f"{name}, seed {seed}: {curves[-1].bits[-1]:.4f} bits a byte", flush=True)
    write_png(figure(curves), PICTURE)


def read(data: Path, names: Iterable[str]) -> Iterator[Section]:
    """Yields all English text of files and folders in sections, each text once."""
    seen = set()
    for name in names:
        root = data / name
        for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
            for number, text in enumerate(texts(path)):
                digest = hashlib.sha256(text.encode()).digest()
                if digest in seen:
                    continue
                seen.add(digest)
                for part, section in enumerate(cut(text, SECTION_BYTES)):
                    yield Section(f"{path.name}:{number}#{part}", section, int.from_bytes(digest[:8]) / 2**64)


def texts(path: Path) -> Iterator[str]:
    """Yields the texts of one file, of each kind that the folders contain."""
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        if path.suffix == ".jsonl":
            for line in file:
                values = json.loads(line)
                yield str(values.get("text") or values.get("body") or "").encode("utf-8", "replace").decode()
        elif path.suffix == ".csv":
            for row in csv.DictReader(file):
                yield row.get("text") or row.get("v2") or ""
        else:
            yield file.read()


def filtered(curated: list[Section], noisy: list[Section], web: list[Section], alpha: float) -> list[Section]:
    """Returns web pages sampled by score; the classifier that scores a page is trained on the other half."""
    kept = []
    for half in (0, 1):
        train_on = [section.text for section in noisy if int(section.part * 1000) % 2 != half]
        classifier = Classifier.train([section.text for section in curated], train_on)
        asked = [section for section in web if int(section.part * 1000) % 2 == half]
        scores = classifier.score([section.text for section in asked])
        kept += [
            section
            for section, score in zip(asked, scores.tolist(), strict=True)
            if draw(section.name, alpha) > 1 - score
        ]
    return kept


def taken_by_lot(web: list[Section], size: int) -> list[Section]:
    """Returns sections in the order of a hash until they have the given number of bytes."""
    chosen: list[Section] = []
    for section in sorted(web, key=lambda section: hashlib.sha256(section.name.encode()).digest()):
        if size <= 0:
            break
        chosen.append(section)
        size -= section.size
    return chosen


def train(
    run: RunDirectory,
    name: str,
    sections: list[Section],
    held_out: list[Section],
    vocabulary: Vocabulary,
    overrides: tuple[str, ...],
) -> Curve:
    """Trains on the sections and evaluates on the held-out ones, whose windows replace those of validation."""
    run.path.mkdir(parents=True, exist_ok=True)
    file = run.path / "given.yaml"
    file.write_text(RECIPE)
    recipe: Recipe = loading.load(str(file), overrides)
    run.claim(recipe)
    vocabulary.save(run.vocabulary)
    documents = [Document(section.text, section.name) for section in sections]
    packing.pack(
        documents,
        vocabulary,
        run.train_store,
        run.validation_store,
        sequence_length=256,
        validation_share=0.001,
        seed=recipe.training.seed,
        source_fingerprint=name,
    )
    order = sorted(held_out, key=lambda section: hashlib.sha256(section.name.encode()).digest())
    # Enough sections for the windows that are evaluated.
    order = order[: recipe.training.validation_windows]
    ids = [np.append(each, vocabulary.eod) for each in vocabulary.encode_all([section.text for section in order])]
    header = store.write(
        run.validation_store,
        ids,
        vocabulary_size=vocabulary.size,
        sequence_length=256,
        documents=len(ids),
        vocabulary_digest=vocabulary.digest,
        source_fingerprint=name,
    )
    if not training.train(run, recipe, recipe.training.steps, lambda text: None):
        raise SystemExit(f"{run.path}: stopped")
    bits_per_nat = header.tokens / sum(section.size for section in order) / np.log(2)
    events = [event for event in read_json_lines(run.events) if event["event"] == "validation"]
    losses = {event["step"]: event["loss"] * bits_per_nat for event in events}
    return Curve(name, sorted(losses), [losses[step] for step in sorted(losses)])


@STYLE
def figure(curves: list[Curve], width: int = 1040) -> Figure:
    """Draws a line for every run, coloured by its training text."""
    height, top, bottom = 400, 50, 44
    drawn, axes = canvas(width, height, left=48, right=100, top=top, bottom=bottom)
    axes.set_xlabel("step", color=LIGHT["muted"])
    for curve in curves:
        axes.plot(curve.steps, curve.bits, color=LIGHT[COLOURS[curve.name]], linewidth=1.6)
    axes.set_xlim(0, curves[0].steps[-1])
    late = [bits for curve in curves for step, bits in zip(curve.steps, curve.bits, strict=True) if step >= 40]
    axes.set_ylim(min(late) - 0.05, max(late) + 0.05)
    ends = [
        (float(np.mean([curve.bits[-1] for curve in curves if curve.name == name])), name, LIGHT[colour])
        for name, colour in COLOURS.items()
    ]
    label_ends(axes, height - top - bottom, ends)
    title = "Bits a byte of held-out Wikipedia and books, trained on pages of a crawl"
    drawn.text(8 / width, 1 - 18 / height, title, va="center", color=LIGHT["ink"])
    return drawn


if __name__ == "__main__":
    environment.prepare(1)
    main()
