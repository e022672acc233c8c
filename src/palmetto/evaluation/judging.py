"""Decides from log-probabilities or generated text what becomes of an example."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from palmetto.evaluation.queries import Query
from palmetto.evaluation.tasks.task import BITS, NORMALIZATIONS, Example, Normalization, Outcome, Task
from palmetto.evaluation.until import up_to_stop
from palmetto.files import text_bytes


def judge(
    task: Task,
    id: str,
    example: Example,
    queries: Sequence[Query],
    logprobs: Sequence[Sequence[float]],
    answers: Sequence[str],
) -> Outcome:
    """Returns the outcome of an example from the answers to its queries.

    logprobs: those of each query's continuation. answers: the text of each continuation.
    """
    if example.text:
        bits, size = -sum(map(sum, logprobs)) / math.log(2), len(text_bytes(example.text))
        return Outcome(id, id, {BITS: bits / size}, "", bits=bits, size=size)
    asked = [query for query in queries if not query.unconditional]
    common = Outcome(
        example=id,
        cluster=example.cluster or id,
        question=example.question,
        kind=example.kind,
        scores={},
        answer="",
        gold=example.gold,
        right=example.options[example.gold[0]].continuation if example.gold else "",
        credits=example.credits,
        options=len(example.options),
        truncated=any(query.truncated for query in asked),
        spans=any(query.spans for query in asked),
    )
    if task.mark is not None:
        given = [answer for query, answer in zip(queries, answers, strict=True) if query.tokens]
        texts = [up_to_stop(answer, task.stop, keep=task.keeps_stop) for answer in given]
        if not queries[-1].tokens:
            common = common._replace(bits=_bits(logprobs[-1]), size=_size(queries[-1]))
        if task.sampled is not None and len(texts) > 1:
            return common._replace(scores=task.sampled(texts, example), answer=texts[0])
        text = elected(task, texts)
        marks = task.mark(text, example)
        return common._replace(
            scores={task.metric: 0.0} if marks is None else marks,
            counts={} if task.counts is None else task.counts(text, example),
            answer=text,
            unparsed=marks is None,
        )
    scores = normalized(queries, logprobs)
    chosen = {name: _single_best(values) for name, values in scores.items()}
    own = chosen[task.normalization]
    right: dict[str, float] = {name: float(place in example.gold) for name, place in chosen.items()}
    credited = {name: 0.0 if own < 0 else values[own] for name, values in example.credits.items()}
    # Among several right options the likeliest tells most about the model.
    gold = max(example.gold, key=lambda place: scores["raw"][place])
    return common._replace(
        scores={task.metric: right[task.normalization], **right, **credited},
        likelihoods=tuple(scores["raw"]),
        bits=_bits(logprobs[gold]),
        size=_size(queries[gold]),
        answer="" if own < 0 else example.options[own].continuation,
        chosen=own,
        tie=own < 0,
    )


def elected(task: Task, texts: Sequence[str]) -> str:
    """Returns the first of the texts that say what most of them say; those that cannot be understood do not vote."""
    votes = [task.vote(text) for text in texts] if len(texts) > 1 else []
    counts = Counter(vote for vote in votes if vote is not None)
    if not counts:
        return texts[0]
    [(winner, _)] = counts.most_common(1)
    return texts[votes.index(winner)]


def total(logprobs: Sequence[float]) -> float:
    """Returns the log-likelihood of a continuation, in nats."""
    return float(np.sum(np.array(logprobs, np.float64)))


def _bits(logprobs: Sequence[float]) -> float:
    """Returns the information in a continuation."""
    return -total(logprobs) / math.log(2)


def _size(query: Query) -> int:
    """Returns the bytes of a continuation without spaces around it."""
    return len(query.continuation.strip().encode("utf-8", "replace"))


def normalized(queries: Sequence[Query], logprobs: Sequence[Sequence[float]]) -> dict[Normalization, list[float]]:
    """Returns the score of each option by normalization.

    Lengths are those of the continuation without spaces in front: tokens as scored, characters, bytes of UTF-8.
    """
    sums = [total(own) for own in logprobs]
    count = len(queries) // 2
    divided: dict[Normalization, Callable[[Query], int]] = {
        "raw": lambda query: 1,
        "token": lambda query: len(query.continuation_ids),
        "character": lambda query: len(query.continuation.strip()),
        "byte": _size,
    }
    options = list(zip(queries[:count], sums[:count], strict=True))
    scores = {name: [own / max(1, length(query)) for query, own in options] for name, length in divided.items()}
    scores["unconditional"] = [own - alone for own, alone in zip(sums[:count], sums[count:], strict=True)]
    assert tuple(scores) == NORMALIZATIONS
    return scores


def together(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Returns the outcomes with those of the same question joined into one, whose scores are the products of theirs."""
    joined: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        joined.setdefault(outcome.question or f"\0{outcome.example}", []).append(outcome)
    return [_product(own) for own in joined.values()]


def _product(outcomes: Sequence[Outcome]) -> Outcome:
    first = outcomes[0]
    return first._replace(
        scores={name: math.prod(outcome.scores[name] for outcome in outcomes) for name in first.scores},
        truncated=any(outcome.truncated for outcome in outcomes),
        spans=any(outcome.spans for outcome in outcomes),
        tie=any(outcome.tie for outcome in outcomes),
    )


def _single_best(scores: list[float]) -> int:
    """Returns the place of the highest score; −1 if several have it."""
    best = max(scores)
    return scores.index(best) if scores.count(best) == 1 else -1
