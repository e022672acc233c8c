"""Translation of FLORES-200 (arXiv 2207.04672) and WMT, with the names of the languages, scored by sacrebleu's BLEU."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from palmetto.errors import UserError
from palmetto.evaluation import bleu
from palmetto.evaluation.statistics import Estimate, mean_of_same
from palmetto.evaluation.tasks.reading import lines
from palmetto.evaluation.tasks.suite import Means, Results, Suite
from palmetto.evaluation.tasks.task import Example, File, Record, Source, Task

FLORES = {
    "deu_Latn": "German",
    "eng_Latn": "English",
    "fra_Latn": "French",
    "jpn_Jpan": "Japanese",
    "kaz_Cyrl": "Kazakh",
    "kor_Hang": "Korean",
    "ron_Latn": "Romanian",
    "rus_Cyrl": "Russian",
    "swh_Latn": "Swahili",
    "zho_Hans": "Chinese",
}
"""The languages of FLORES-200 that are read, by their codes."""
_WMT = {"cs": "Czech", "de": "German", "en": "English", "fr": "French", "kk": "Kazakh", "ro": "Romanian"}
_WMT_PAIRS = ("wmt14-en-fr", "wmt16-en-de", "wmt16-en-ro", "wmt19-de-fr", "wmt19-en-kk")
"""The pairs that PaLM reports (arXiv 2204.02311, section 6.5), each evaluated in both directions."""
_TOKENIZERS = {"Chinese": "zh", "Japanese": "ja-mecab"}
"""sacrebleu's tokenizers of languages that have no spaces between words."""
_FORM = "two files with a sentence a line, of which each line translates that of the other"


def _pairs(other: str, path: Path) -> Iterator[Record]:
    """Yields the lines of a file, each with that of another file beside it."""
    target = path.with_name(other)
    ours, theirs = lines(path), lines(target)
    if len(ours) != len(theirs):
        raise UserError(f"{target}: {len(theirs)} lines, and {len(ours)} in {path.name}; expected as many")
    for source, translated in zip(ours, theirs, strict=True):
        yield {"source": source, "target": translated}


def _example(source: str, target: str, record: Record) -> Example:
    if not record["source"].strip() or not record["target"].strip():
        raise ValueError("an empty line")
    ending = f"\n{target}:"
    return Example(context=f"{source}: {record['source']}{ending}", ending=ending, answers=(record["target"],))


def _mark(tokenizer: str, text: str, example: Example) -> dict[str, float] | None:
    """Marks a translation by its own BLEU; the task's is that of all translations together."""
    if not text.strip():
        return None
    return {"bleu": bleu.bleu_of(bleu.counts(text.strip(), example.answers, tokenizer))}


def _counts(tokenizer: str, text: str, example: Example) -> dict[str, tuple[float, ...]]:
    return {"bleu": bleu.counts(text.strip(), example.answers, tokenizer)}


def _task(name: str, source: str, target: str, tests: Source, training: Source = ()) -> Task:
    """Returns a task of translating. source, target: the names of the languages in English."""
    tokenizer = _TOKENIZERS.get(target, "13a")
    return Task(
        name,
        "Translation",
        tests,
        partial(_example, source, target),
        training,
        metric="bleu",
        mark=partial(_mark, tokenizer),
        counts=partial(_counts, tokenizer),
        signature=partial(bleu.signature, tokenizer),
        require=partial(bleu.require, tokenizer),
        tokens=256,
    )


def _flores(source: str, target: str) -> Task:
    tests, development = (
        File(f"flores200/{source}.{part}", partial(_pairs, f"{target}.{part}"), _FORM, (f"flores200/{target}.{part}",))
        for part in ("devtest", "dev")
    )
    name = f"flores200-{source}-{target}"
    return _task(name, FLORES[source], FLORES[target], (tests, development), (development,))


def _wmt(year: str, pair: tuple[str, str]) -> Task:
    source, target = pair
    stem = f"wmt/{year}.{source}-{target}"
    file = File(f"{stem}.src", partial(_pairs, f"{Path(stem).name}.ref"), _FORM, (f"{stem}.ref",))
    return _task(f"{year}-{source}-{target}", _WMT[source], _WMT[target], (file,))


def _directions(name: str) -> Iterator[Task]:
    year, one, other = name.split("-")
    yield _wmt(year, (one, other))
    yield _wmt(year, (other, one))


def _means(english: str, results: Results) -> Means:
    """Returns mean BLEU from English, into it, and between other languages, whose directions share sentences."""
    means: dict[str, list[Estimate]] = {}
    for name, each in results.items():
        _, source, target = name.split("-")
        way = "from_english" if source == english else "into_english" if target == english else "others"
        means.setdefault(way, []).append(each.estimate)
    return {way: [mean_of_same(estimates)] for way, estimates in means.items()}


def _suite(english: str, tasks: Sequence[Task]) -> Suite:
    return Suite({task.name: 0 for task in tasks}, partial(_means, english))


_OTHERS = tuple(code for code in FLORES if code != "eng_Latn")
_ALL_FLORES = (
    *(_flores("eng_Latn", code) for code in _OTHERS),
    *(_flores(code, "eng_Latn") for code in _OTHERS),
    _flores("deu_Latn", "fra_Latn"),
    _flores("fra_Latn", "deu_Latn"),
)
_ALL_WMT = tuple(task for name in _WMT_PAIRS for task in _directions(name))

TASKS = (*_ALL_FLORES, *_ALL_WMT)
SUITES = {"flores_translation": _suite("eng_Latn", _ALL_FLORES), "wmt": _suite("en", _ALL_WMT)}
