"""The 29 tasks that GLaM (arXiv 2112.06905) and PaLM (arXiv 2204.02311) report, and their means."""

from palmetto.evaluation.tasks.suite import Means, Results, Suite, only

GENERATION = ("triviaqa", "nq_open", "webqs", "squadv2", "lambada_openai", "drop", "quac", "coqa")
"""The tasks whose answers are generated."""
_FEW = {
    "triviaqa": 1,
    "nq_open": 64,
    "webqs": 64,
    "lambada_openai": 8,
    "hellaswag": 5,
    "storycloze_2016": 5,
    "wsc273": 5,
    "winogrande": 5,
    "piqa": 5,
    "arc_easy": 5,
    "arc_challenge": 5,
    "openbookqa": 32,
    "drop": 1,
    "coqa": 5,
    "quac": 1,
    "squadv2": 5,
    "race_high": 5,
    "race_middle": 8,
    "boolq": 8,
    "cb": 5,
    "copa": 5,
    "multirc": 5,
    "record": 2,
    "rte": 5,
    "wic": 5,
    "wsc": 5,
    "anli_r1": 5,
    "anli_r2": 5,
    "anli_r3": 5,
}
"""The tasks, each with PaLM's number of shots where it shows few (its Table 4)."""
UNDERSTANDING = tuple(name for name in _FEW if name not in GENERATION)
"""The tasks that rank options."""


def _means(results: Results) -> Means:
    """Returns the means over generation, understanding and all; MultiRC counts by the F1 of its answers."""
    own = {
        name: each._replace(estimate=each.by("f1a")) if name == "multirc" else each for name, each in results.items()
    }
    return {
        "generation": only(own, GENERATION),
        "understanding": only(own, UNDERSTANDING),
        "all": only(own, tuple(_FEW)),
    }


SUITES = {"glam": Suite(dict.fromkeys(_FEW, 0), _means), "palm": Suite(_FEW, _means)}
