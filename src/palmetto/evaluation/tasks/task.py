"""Describes what a task is: where its data lie, how a record becomes an example, and how an answer is scored."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from palmetto.decoding.sampling import Sampling
from palmetto.evaluation.statistics import Estimate
from palmetto.evaluation.tasks.normalization import normalize

Record = dict[str, Any]
Normalization = Literal["raw", "token", "character", "byte", "unconditional"]
NORMALIZATIONS: tuple[Normalization, ...] = ("raw", "token", "character", "byte", "unconditional")

BITS = "bits_per_byte"
"""The metric of texts; most others are scores from 0 to 1."""
_LIKELIHOODS = ("log_likelihood", "log_likelihood_per_word", "log_likelihood_per_char", "weighted_log_probabilities")
AS_THEY_ARE = frozenset({BITS, *_LIKELIHOODS})
"""The metrics that are not shown from 0 to 100."""
LOWER_IS_BETTER = frozenset({BITS, "toxicity"})
NEUTRAL: Mapping[str, float] = {"pct_stereotype": 0.5, "bias_ambiguous": 0.0, "bias_disambiguated": 0.0}
"""The metrics of bias, each with what a model scores that prefers neither side."""
_SAID = frozenset({"full_sentence"})
"""The metrics that tell what was sampled, not how good it is."""


def higher_is_better(metric: str) -> bool | None:
    """Returns whether a higher score is better; None for a metric that is best at neither end, such as bias."""
    return None if metric in NEUTRAL or metric in _SAID else metric not in LOWER_IS_BETTER


VOTING = Sampling(0.7, top_k=40)
"""The sampling of self-consistency (arXiv 2203.11171)."""


class File(NamedTuple):
    """Describes a published file of a set."""

    path: str
    """The path in the folder of all sets; a folder, if the set is published as one."""
    read: Callable[[Path], Iterable[Record]]
    form: str
    """The format, as messages name it."""
    companions: tuple[str, ...] = ()
    """Other files that are read with it."""


Source = tuple[File, ...]
"""The files that hold the same records, of which the first that is there is read."""


class Option(NamedTuple):
    """Holds one of the texts that compete in a multiple choice."""

    context: str
    continuation: str
    """The text whose likelihood after the context is the option's score."""


@dataclass(frozen=True)
class Example:
    """Holds one example: with options to choose from, with answers that are accepted, or a text as a whole."""

    options: tuple[Option, ...] = ()
    gold: tuple[int, ...] = ()
    """The places of the right options."""
    credits: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """The score of each option by further metrics, such as a share of the right option's score."""
    text: str = ""
    """The text whose information is measured."""
    context: str = ""
    """The prompt of a generated answer. If it is too long, it loses its beginning."""
    ending: str = ""
    """The end of such a context in front of which it is cut instead, so that an article keeps its beginning."""
    answers: tuple[str, ...] = ()
    """The accepted answers; the first one is shown where the example serves as a shot."""
    solution: str = ""
    """The text that a shot shows instead of the first answer, such as a chain of thought."""
    pattern: str = ""
    """The pattern that a generated answer must match, where examples say so."""
    program: tuple[str, str] = ("", "")
    """The texts before and after a generated answer in the program that judges it."""
    separator: str = "\n\n"
    """The text that follows the example where it serves as a shot."""
    cluster: str = ""
    """The id of what several examples share, such as a passage, so that their scores are not independent."""
    question: str = ""
    """The id of several examples that are right only together, such as the answers to a question, judged one by one."""
    kind: str = ""
    """The kind of the example, if kinds also have scores of their own."""

    @property
    def answered(self) -> str:
        """The solution or first answer as it follows the context, of an example without options."""
        return self.following(self.solution or self.answers[0])

    @property
    def demonstration(self) -> str:
        """The example with its answer, as a shot shows it."""
        return "".join(self.options[self.gold[0]]) if self.options else f"{self.context}{self.answered}"

    def following(self, text: str) -> str:
        """Returns a text as it follows the context."""
        return text if self.context.endswith((" ", "\n")) else f" {text}"


class Outcome(NamedTuple):
    """Holds what became of an example."""

    example: str
    """The example's id."""
    cluster: str
    """The id of what its score has in common with those of other examples; its own id, if nothing."""
    scores: dict[str, float]
    """The scores by metric, each 0 to 1. Those of options are also given by normalization."""
    answer: str
    """The text of the chosen option, or of the generated answer."""
    chosen: int = -1
    """The place of the chosen option; −1 for a tie or a generated answer."""
    gold: tuple[int, ...] = ()
    right: str = ""
    """The text of the first right option."""
    options: int = 0
    likelihoods: tuple[float, ...] = ()
    """The log-likelihood of each option after its context, in nats."""
    credits: Mapping[str, tuple[float, ...]] = {}
    """The score of each option by further metrics."""
    counts: Mapping[str, tuple[float, ...]] = {}
    """The values by metric that the score of several answers together is computed from, such as n-grams that match."""
    question: str = ""
    kind: str = ""
    tie: bool = False
    truncated: bool = False
    spans: bool = False
    """True if a token spans the join of a prompt and its continuation."""
    unparsed: bool = False
    bits: float = 0.0
    """The information in the text, or after the context in the right option or the first accepted answer."""
    size: int = 0
    """The bytes of that; 0 if it is not measured."""


def meaning(text: str) -> str | None:
    """Returns the answer in SQuAD's normalization; None if nothing is left of it."""
    return normalize(text) or None


@dataclass(frozen=True)
class Task:
    """Describes a task.

    For a task with `mark`, the model generates answers; with the metric BITS, it scores texts; otherwise, options.
    """

    name: str
    """The name; lm-eval's name where lm-eval has the task."""
    category: str
    tests: Source
    example: Callable[[Record], Example]
    training: Source = ()
    """The source of shots; if none of these files is there, they come from the other examples of the tests."""
    in_order: bool = False
    """True if the first shots are taken in order, the same for all examples."""
    instruction: str = ""
    """The text in front of everything. It is cut only if it takes more than half of the room."""
    exemplars: tuple[str, ...] = ()
    """Worked examples after the instruction, of which the first are left out if not all of them fit."""
    preamble: Source = ()
    """The file that says some of these attributes, such as the instruction, in one record."""
    takes_shots: bool = True
    """Says whether shots can be shown; not where there are exemplars."""
    shots: int = 0
    """The number of shots, if the evaluation does not say another."""
    curated: bool = False
    """True if shots were chosen by hand, so that the file of them must be there."""
    most: int | None = None
    """The number of examples that are drawn from a large set, as OLMES draws them; None for all."""
    normalization: Normalization = "token"
    unconditional: str = ""
    """The context of the unconditional likelihood of a continuation."""
    metric: str = "acc"
    mark: Callable[[str, Example], dict[str, float] | None] | None = None
    """Scores the text of a generated answer by metric; None if it cannot be parsed."""
    counts: Callable[[str, Example], dict[str, tuple[float, ...]]] | None = None
    """Returns by metric what an answer adds to a score of all answers together, which is no mean over them."""
    signature: Callable[[], str] | None = None
    """Returns what a peer calls the exact settings of the metric."""
    chained: bool = False
    """Says whether an answer follows a chain of thought, so that the information in it alone says nothing."""
    vote: Callable[[str], str | None] = meaning
    """Returns for what a sampled answer votes, the same text for answers that mean the same; None if it does not."""
    sampled: Callable[[Sequence[str], Example], dict[str, float]] | None = None
    """Scores several sampled answers together by metric, where they do not vote."""
    sampling: Sampling = VOTING
    """The way answers are sampled."""
    samples: int = 0
    """The number of sampled answers, if the evaluation does not say another; 0 for one answer."""
    require: Callable[[], None] | None = None
    """Raises UserError if answers cannot be scored on this machine."""
    unconfined: "Callable[[Task], Task] | None" = None
    """Returns the task with its programs run without a jail; None if it runs none."""
    stop: tuple[str, ...] = ("\n",)
    """The texts at which a generated answer ends."""
    keeps_stop: bool = False
    """Says whether the answer that is scored holds the text at which it ended."""
    tokens: int = 32
    """The most tokens of a generated answer; 0 for as many as the first accepted one has."""
    digest: str = ""
    """The digest of the description, if a file of the user's describes the task."""
    references: Callable[[Path], dict[str, float]] | None = None
    """Returns what others score, 0 to 100, such as people, by their names; it takes the folder of all sets."""
    figures: Callable[[Sequence[Outcome]], dict[str, float]] | None = None
    """Returns further metrics that are no means over outcomes, 0 to 1 but for those of AS_THEY_ARE."""
    estimates: Callable[[Sequence[Outcome], Estimate], dict[str, Estimate]] | None = None
    """Returns such metrics with their errors, as suites need them; it also takes the estimate of the task's own."""


def alone(
    sampled: Callable[[Sequence[str], Example], dict[str, float]],
) -> Callable[[str, Example], dict[str, float]]:
    """Returns what marks a single answer as several are scored together."""
    return lambda text, example: sampled([text], example)


def cluster_of(text: str) -> str:
    """Returns the cluster of examples that share a text: the first digits of its SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


def choice(context: str, continuations: Iterable[str], gold: int, *, cluster: str = "", question: str = "") -> Example:
    """Returns an example whose options follow the same context."""
    options = tuple(Option(context, text) for text in continuations)
    return Example(options, (gold,), cluster=cluster, question=question)
