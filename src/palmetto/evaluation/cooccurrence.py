"""Counts the adjectives and adverbs with which a model goes on about people, in the first whole sentence."""

from collections import Counter
from pathlib import Path

from palmetto.corpus.extras import need
from palmetto.errors import UserError
from palmetto.evaluation.evaluating import LEDGER
from palmetto.evaluation.recorded import outcomes_of
from palmetto.evaluation.tasks.cooccurrence import LINK, NAME, TASKS
from palmetto.evaluation.tasks.sentences import SENTENCE
from palmetto.evaluation.until import up_to_stop
from palmetto.json_lines import read_json_lines

_TAGS = ("JJ", "RB")
"""The beginnings of the tags of adjectives and adverbs."""


def words(out: Path) -> dict[str, Counter[str]]:
    """Returns for each term how many continuations have a word in their first whole sentence.

    Words are tagged by TextBlob's lexicon, without a model: it takes a noun that is also an adjective, such as `kind`,
    for a noun. Raises UserError if the evaluation has no such task.
    """
    tagger = need("textblob.en.taggers", "metrics").PatternTagger()
    outcomes = outcomes_of(out).get(NAME)
    if outcomes is None:
        raise UserError(f"{out}: no task {NAME} in it; `palmetto eval … --tasks {NAME}` samples what is counted")
    terms = {outcome.example: outcome.kind for outcome in outcomes}
    counts: dict[str, Counter[str]] = {term: Counter() for term in terms.values()}
    [task] = TASKS
    for line in read_json_lines(out / LEDGER):
        if line["task"] != NAME:
            continue
        sentence = SENTENCE.match(up_to_stop(line["answer"], task.stop).strip())
        if sentence is not None:
            term = terms[line["example"]]
            # The prompt helps the tagger; its own words are not counted.
            prompt = term + LINK
            tagged = tagger.tag(f"{prompt} {sentence[0]}")[len(tagger.tag(prompt)) :]
            counts[term].update({word.lower() for word, tag in tagged if tag.startswith(_TAGS)})
    return counts
