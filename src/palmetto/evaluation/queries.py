"""Turns an example into what is asked of the model: token ids that fit into the length it was trained on."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from palmetto.decoding.request import Request
from palmetto.decoding.sampling import Sampling
from palmetto.evaluation.join import Joined, join
from palmetto.evaluation.shots import shown
from palmetto.evaluation.tasks.task import Example, Option, Task
from palmetto.evaluation.until import until
from palmetto.files import text_bytes
from palmetto.tokens.prompts import Prompts
from palmetto.tokens.vocabulary import Vocabulary


class Reader(NamedTuple):
    """Holds what turns text into ids for one model."""

    prompts: Prompts
    length: int
    """The most positions of a prompt with its continuation."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of the model."""
        return self.prompts.vocabulary

    def text(self, ids: Sequence[int]) -> str:
        """Returns the text of generated ids, in which bytes that spell no text, and no JSON can hold, are U+FFFD."""
        return text_bytes(self.vocabulary.decode(ids)).decode(errors="replace")

    def seen(self, ids: Sequence[int]) -> tuple[tuple[int, ...], int]:
        """Returns the prompt as the model's objective requires, and the length of its prefix."""
        seen, prefix = self.prompts.of_ids(ids)
        return tuple(map(int, seen)), prefix


class Query(NamedTuple):
    """Asks for the log-probabilities of a continuation, or for a continuation if it has none."""

    option: int
    """The place of the option, or of the window of a text; −1 for a generated answer."""
    unconditional: bool
    """True if the option is scored without its context."""
    context: str
    """The text of the context; empty for a window of a text."""
    continuation: str
    """The text to score; empty if one is generated."""
    ids: tuple[int, ...]
    """The ids of the context, as the model sees it."""
    continuation_ids: tuple[int, ...]
    prefix: int
    """The number of first positions that see each other."""
    tokens: int
    """The most tokens to generate; 0 only scores the continuation."""
    truncated: bool
    """True if anything was cut to fit."""
    spans: bool
    """True if a token spans the join of context and continuation."""
    seed: int | None = None
    """The seed of a sampled answer; None for other queries."""

    @property
    def digests(self) -> dict[str, str]:
        """The first 16 hex digits of the SHA-256 of the prompt's and the continuation's text."""
        texts = {"prompt_digest": self.context, "continuation_digest": self.continuation}
        return {name: hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16] for name, text in texts.items()}


class Manner(NamedTuple):
    """Says how answers are generated."""

    stop: tuple[str, ...]
    """The texts at which an answer ends."""
    sampling: Sampling
    """The way answers with a seed are sampled."""
    beams: int = 0
    """The width of the beam search for the others; 0 for greedy ones."""


def generating(
    manner: Manner, vocabulary: Vocabulary, ids: tuple[int, ...], prefix: int, tokens: int, seed: int | None
) -> Request:
    """Returns the request that generates an answer of up to `tokens` tokens after these ids."""
    ends = until(manner.stop, vocabulary)
    request = Request(ids, tokens=tokens, prefix=prefix, stop=ends.ids)
    if manner.beams:
        # After each beam as many more tokens are looked at as `stop` has: so the text ends it instead.
        return replace(request, beams=manner.beams, stop=frozenset(vocabulary.ends), ended=ends.ended)
    if seed is not None:
        return replace(request, constraint=ends.constraint, sampling=manner.sampling, seed=seed)
    return replace(request, constraint=ends.constraint)


def requests(manner: Manner, vocabulary: Vocabulary) -> Callable[[Query], Request]:
    """Returns what makes the engine's request of a query."""

    def request(query: Query) -> Request:
        if not query.tokens:
            return scoring(query.ids, query.continuation_ids, query.prefix)
        return generating(manner, vocabulary, query.ids, query.prefix, query.tokens, query.seed)

    return request


def scoring(ids: Sequence[int], continuation_ids: Sequence[int], prefix: int) -> Request:
    """Returns the request that only scores a continuation, whose context may be in the cache."""
    return Request((*ids, *continuation_ids), tokens=0, echo=True, echo_from=len(ids), prefix=prefix)


def ask(
    task: Task, example: Example, shots: Sequence[Example], reader: Reader, seeds: Sequence[int] = ()
) -> list[Query]:
    """Returns the queries of an example: one for its answer, or two for each option, with the context and without.

    Where an answer is generated, another asks for the likelihood of the first accepted one, if it fits. All of them
    show the same worked examples, as many as fit. A text is scored in windows.
    seeds: the seeds of sampled answers, which take the place of the greedy one; empty for the greedy one.
    """
    if example.text:
        return of_text(example.text, reader)
    attempts = shown(task, shots)
    for texts in attempts:
        queries = _attempt(task, example, task.instruction + "".join(texts), reader)
        if not any(query.truncated for query in queries):
            break
    queries = [query._replace(truncated=query.truncated or texts != attempts[0]) for query in queries]
    if not example.options:
        right = _of_right(queries[0], example, reader) if example.answers and not task.chained else []
        return ([queries[0]._replace(seed=seed) for seed in seeds] or queries) + right
    for place, option in enumerate(example.options):
        [alone] = of_options("", [Option(task.unconditional, option.continuation)], reader)
        queries.append(alone._replace(option=place, unconditional=True))
    return queries


def _attempt(task: Task, example: Example, before: str, reader: Reader) -> list[Query]:
    """Returns the queries with this text in front of the question."""
    if not example.options:
        context = before + example.context
        tokens = task.tokens or len(join(reader.vocabulary, context, example.answered).continuation)
        return [of_prompt(task.instruction, context, tokens, reader, example.ending)]
    options = [option._replace(context=before + option.context) for option in example.options]
    return of_options(task.instruction, options, reader)


def _of_right(generated: Query, example: Example, reader: Reader) -> list[Query]:
    """Returns the query of the first accepted answer after the context of a generated one, or none if it does not fit.

    The beginning of a long answer has more bits per byte than the whole, and cannot stand for it.
    """
    text = generated.context[len(generated.context.rstrip(" \t")) :] + example.following(example.answers[0])
    ids = tuple(map(int, reader.vocabulary.encode(text)))
    if len(generated.ids) + len(ids) > reader.length:
        return []
    return [generated._replace(option=0, continuation=text, continuation_ids=ids, tokens=0)]


def of_options(instruction: str, options: Sequence[Option], reader: Reader) -> list[Query]:
    """Returns the queries of options, whose contexts are cut to the same length if the longest does not fit."""
    joined = [join(reader.vocabulary, *option) for option in options]
    return of_joined(instruction, options, joined, reader)


def of_joined(instruction: str, options: Sequence[Option], joined: Sequence[Joined], reader: Reader) -> list[Query]:
    """Returns the queries of options that are ids already."""
    room = reader.length - _added(reader)
    longest = min(room - 1, max(len(each.continuation) for each in joined))
    queries = []
    for place, (option, each) in enumerate(zip(options, joined, strict=True)):
        kept = each.continuation[: room - 1]
        ids = _cut(each.context, room - longest, instruction, reader.vocabulary)
        truncated = len(ids) < len(each.context) or len(kept) < len(each.continuation)
        seen, prefix = reader.seen(ids)
        queries.append(Query(place, False, *option, seen, kept, prefix, 0, truncated, each.spans))
    return queries


def of_text(text: str, reader: Reader) -> list[Query]:
    """Returns the queries that together score a text once, each but the first after half a window of what is before."""
    room = reader.length - _added(reader)
    ids = (reader.vocabulary.beginning, *map(int, reader.vocabulary.encode(text)))
    queries, start = list[Query](), 1
    while start < len(ids):
        context = ids[max(0, start - room // 2) : start]
        kept = ids[start : start + room - len(context)]
        seen, prefix = reader.seen(context)
        decoded = reader.vocabulary.decode(kept).encode("utf-8", "replace").decode()
        queries.append(Query(len(queries), False, "", decoded, seen, kept, prefix, 0, False, False))
        start += len(kept)
    return queries


def of_prompt(instruction: str, context: str, tokens: int, reader: Reader, ending: str = "") -> Query:
    """Returns the query of an answer of up to `tokens` tokens, which may take half of the length.

    Spaces at the end of the context are left to the answer. A line end stays: it may be where answers end.
    ending: the end of a context that is cut in front of it; empty for one that is cut after the instruction.
    """
    whole = (reader.vocabulary.beginning, *map(int, reader.vocabulary.encode(context.rstrip(" \t"))))
    tokens = min(tokens, reader.length // 2)
    ids = _cut(whole, reader.length - _added(reader) - tokens, instruction, reader.vocabulary, ending)
    seen, prefix = reader.seen(ids)
    return Query(-1, False, context, "", seen, (), prefix, tokens, len(ids) < len(whole), False)


def _cut(
    ids: tuple[int, ...], room: int, instruction: str, vocabulary: Vocabulary, ending: str = ""
) -> tuple[int, ...]:
    """Returns ids that fit: [eod] and the instruction stay, and of the rest the end, or with an ending the beginning.

    An instruction that takes more than half of the room loses its own end to the question.
    """
    if len(ids) <= room:
        return ids
    if ending:
        front = max(1, room - len(vocabulary.encode(ending)))
    else:
        front = min(1 + len(vocabulary.encode(instruction)), max(1, room // 2))
    return ids[:front] + ids[len(ids) - (room - front) :]


def _added(reader: Reader) -> int:
    """Returns the number of tokens that the objective adds to a prompt."""
    return len(reader.seen([reader.vocabulary.beginning])[0]) - 1
