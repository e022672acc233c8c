"""Compares our metrics of BIG-bench with those of its own package, on drawn answers.

    bigbench_metrics.py

The peer's environment, .venv-bigbench, is made if necessary; it holds the archives of bigbench and t5, of which only
the functions of metrics are loaded. ROUGE differs in the third digit, since the package reports the median of a
thousand resamples where we report the mean.
"""

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from peer_environment import python_of

from palmetto.evaluation.scoring import values
from palmetto.evaluation.tasks import bigbench_metrics as metrics
from palmetto.evaluation.tasks.task import Outcome

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE.parent / ".venv-bigbench"
PACKAGES = ("numpy", "scipy", "scikit-learn", "sacrebleu==2.6.0", "rouge-score==0.1.2", "absl-py")
ARCHIVES = ("bigbench==1.0.0", "t5==0.9.4")
_WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "and",
    "then",
    "it",
    "ran",
    "away",
    "from",
    "O",
    "dog",
    ",",
    "big",
    "small",
    ".",
]
_COUNT = 200


def drawn(seed: int) -> dict[str, Any]:
    """Returns responses with targets, numbers with guesses, options with log-likelihoods, and targets with theirs."""
    draw = random.Random(seed)
    targets = [[_text(draw) for _ in range(draw.randint(1, 3))] for _ in range(_COUNT)]
    responses = [_changed(draw, draw.choice(of)) for of in targets]
    numbers = [draw.choice([0.0, draw.uniform(-9, 9)]) for _ in range(_COUNT)]
    guesses = [
        draw.choice(["no", str(number * draw.uniform(0.8, 1.2)), str(draw.uniform(-0.2, 0.2))]) for number in numbers
    ]
    options = []
    for _ in range(_COUNT):
        choice = draw.sample(["yes", "no", "maybe", "later"], draw.randint(2, 4))
        right = draw.choice(choice)
        logs = [draw.uniform(-6, 0) for _ in choice]
        scores = {text: float(text == right) for text in choice}
        options.append({"choice": choice, "log_prob": logs, "absolute_log_prob": logs, "target_scores": scores})
    return {
        "responses": responses,
        "targets": targets,
        "numbers": list(map(str, numbers)),
        "guesses": guesses,
        "options": options,
        "one_targets": [of[:1] for of in targets],
        "one_logs": [[draw.uniform(-20, -1)] for _ in targets],
        "several_targets": targets,
        "several_logs": [[draw.uniform(-20, -1) for _ in of] for of in targets],
    }


def ours(given: dict[str, Any]) -> dict[str, float]:
    """Returns our values of the same metrics by BIG-bench's names, in its scale."""
    pairs = list(zip(given["responses"], given["targets"], strict=True))
    wanted = (*(name for name in metrics.MATCHES if not name.startswith("numeric")), "rouge")
    scores = [metrics.generated(wanted, response, targets) for response, targets in pairs]
    result = {name: float(np.mean([score[name] for score in scores])) for name in scores[0]}
    for name in ("sequence_f1", "rouge1", "rouge2", "rougeLsum"):
        result[name] *= 100
    counted = [
        Outcome(str(place), str(place), {}, "", counts=metrics.ngrams(*pair)) for place, pair in enumerate(pairs)
    ]
    result["bleu"] = 100 * float(np.mean(values("bleu", counted)))
    numbers = zip(given["guesses"], given["numbers"], strict=True)
    name = "numeric_match_with_0_1_relative_error"
    result[name] = float(np.mean([metrics.MATCHES[name](guess, [number]) for guess, number in numbers]))
    chosen = [_chosen(place, of) for place, of in enumerate(given["options"])]
    result[metrics.GRADE] = float(np.mean([outcome.scores[metrics.GRADE] for outcome in chosen]))
    result |= metrics.of_options(chosen)
    for logs in ("one", "several"):
        likely = [
            Outcome("", "", {}, "", likelihoods=tuple(own), options=len(own), right=targets[0])
            for own, targets in zip(given[f"{logs}_logs"], given[f"{logs}_targets"], strict=True)
        ]
        result[f"log_likelihood_of_{logs}"] = float(np.mean(values("log_likelihood", likely)))
        figures = metrics.of_targets(likely)
        result |= {f"{name}_of_{logs}": value for name, value in figures.items()}
    return result


def theirs(given: dict[str, Any]) -> dict[str, float]:
    """Returns the values of the package's own functions."""
    python = python_of(ENVIRONMENT, PACKAGES)
    for archive in ARCHIVES:
        if not list(ENVIRONMENT.glob(f"{archive.partition('==')[0]}-*")):
            command = ["-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(ENVIRONMENT), archive]
            subprocess.run([python, *command], check=True)
    script = [python, HERE / "peers" / "bigbench_functions.py", ENVIRONMENT]
    done = subprocess.run(script, input=json.dumps(given), stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    """Prints each metric by both, and how far they are apart."""
    given = drawn(0)
    here, there = ours(given), theirs(given)
    print("| metric | ours | BIG-bench's | difference |\n|---|---|---|---|")
    for name, value in there.items():
        print(f"| `{name}` | {here[name]:.6f} | {value:.6f} | {abs(here[name] - value):.0e} |")


def _chosen(place: int, of: dict[str, Any]) -> Outcome:
    grades = tuple(of["target_scores"][text] for text in of["choice"])
    best = int(np.argmax(of["log_prob"]))
    return Outcome(
        str(place),
        str(place),
        {metrics.GRADE: grades[best]},
        of["choice"][best],
        right=of["choice"][grades.index(max(grades))],
        options=len(grades),
        likelihoods=tuple(of["log_prob"]),
        credits={metrics.GRADE: grades},
    )


def _text(draw: random.Random) -> str:
    return " ".join(draw.choices(_WORDS, k=draw.randint(1, 14)))


def _changed(draw: random.Random, text: str) -> str:
    kept = [word if draw.random() < 0.8 else draw.choice(_WORDS) for word in text.split()]
    return draw.choice([text, text.upper(), f" {text}", " ".join(kept), " ".join(kept[:-1])])


if __name__ == "__main__":
    main()
