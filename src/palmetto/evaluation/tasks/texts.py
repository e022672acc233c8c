"""Texts whose information is measured in bits per byte: Paloma's domains (arXiv 2312.10523), FLORES by language."""

from palmetto.evaluation.tasks.reading import json_lines, plain_lines
from palmetto.evaluation.tasks.task import BITS, Example, File, Record, Task
from palmetto.evaluation.tasks.translation import FLORES

_DOMAINS = """
4chan_meta_sep c4_100_domains c4_en dolma-v1_5 dolma_100_programing_languages dolma_100_subreddits falcon-refinedweb gab
m2d2_s2orc_unsplit m2d2_wikipedia_unsplit manosphere_meta_sep mc4 ptb redpajama twitterAAE_HELM_fixed wikitext_103
"""


def _text(record: Record) -> Example:
    if not record["text"]:
        raise ValueError("an empty text")
    return Example(text=record["text"])


def _domain(name: str) -> Task:
    form = "lines of JSON with text"
    files = tuple(File(f"paloma/{name}/val.jsonl{ending}", json_lines, form) for ending in (".gz", ""))
    return Task(f"paloma_{name}", "Text", files, _text, metric=BITS)


def _language(code: str) -> Task:
    file = File(f"flores200/{code}.dev", plain_lines, "a sentence a line")
    return Task(f"flores_{code}", "Text", (file,), _text, metric=BITS)


_PALOMA, _FLORES = tuple(map(_domain, _DOMAINS.split())), tuple(map(_language, FLORES))

TASKS = (*_PALOMA, *_FLORES)
GROUPS = {"paloma": tuple(task.name for task in _PALOMA), "flores": tuple(task.name for task in _FLORES)}
