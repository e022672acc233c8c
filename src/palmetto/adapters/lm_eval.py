"""Lets lm-eval ask our models, so that its tasks run on them (the extra `eval`).

    lm_eval.simple_evaluate(model=PalmettoLM("runs/quickstart"), tasks=[…])

Texts become ids, and are cut, by the rules of `evaluation`. So the same prompt and continuation have the same bits here
and in an evaluation of our own, whatever lm-eval asks besides.
"""

import hashlib
import json
import logging
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from lm_eval._cli import HarnessCLI
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import setup_logging
from tqdm import tqdm

from palmetto.decoding.request import Request, Result
from palmetto.decoding.sampling import SEEDS, Sampling
from palmetto.errors import UserError, nearest
from palmetto.evaluation.harness import answer_of, run_all
from palmetto.evaluation.join import Joined, join
from palmetto.evaluation.judging import total
from palmetto.evaluation.queries import Manner, Query, of_joined, of_prompt, of_text, scoring
from palmetto.evaluation.queries import requests as requests_of
from palmetto.evaluation.tasks.task import Option
from palmetto.evaluation.until import up_to_stop
from palmetto.runs.directory import RunDirectory
from palmetto.workflow.entering import enter_to_read

_NAME = "palmetto"
_TOGETHER = 128
"""The number of requests that the engine gets at a time. No answer depends on it."""
_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty")
_SETTINGS = (*_SAMPLING, "do_sample", "max_gen_toks", "num_beams", "until")

Tokenized = tuple[tuple[str, str], list[int], list[int]]
"""The texts of a context and its continuation, and the ids of both."""


class Generation(NamedTuple):
    """Holds how an answer is generated."""

    tokens: int
    stops: tuple[str, ...]
    sampling: Sampling
    """The way tokens are drawn; greedy if the temperature is 0."""
    beams: int


@register_model(_NAME)
class PalmettoLM(TemplateLM):  # type: ignore[misc]
    """Answers lm-eval's requests by the engine of `decoding`."""

    def __init__(
        self,
        pretrained: str | Path,
        step: int | None = None,
        seed: int = 0,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        device: str | None = None,
    ) -> None:
        """Loads a checkpoint of a run directory, by default the newest.

        seed: the seed of sampled answers. lm-eval hands the last three to every model; here the engine fills its steps
        by itself, and JAX_PLATFORMS chooses the device. Raises the errors of an evaluation.
        """
        super().__init__()
        directory = RunDirectory.existing(Path(pretrained))
        enter_to_read(directory, logging.getLogger(__name__).warning)
        from palmetto.evaluation.model import EvaluatedModel

        self._model, self._seed = EvaluatedModel(directory, step), seed
        self._vocabulary = self._model.reader.vocabulary

    @property
    def eot_token_id(self) -> int:
        """The id that ends a document."""
        return self._vocabulary.eod

    @property
    def prefix_token_id(self) -> int:
        """The id that stands in front of every context."""
        return self._vocabulary.beginning

    @property
    def max_length(self) -> int:
        """The most positions of a context with its continuation."""
        return self._model.reader.length

    @property
    def tokenizer_name(self) -> str:
        """The digest of the vocabulary."""
        return self._vocabulary.digest

    def get_model_info(self) -> dict[str, Any]:
        """Returns what identifies the model and its bits, for lm-eval's results."""
        return self._model.identity

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Returns the ids of a text, with [eod] in front if special tokens are asked for."""
        ids = [int(id) for id in self._vocabulary.encode(string)]
        return [self.prefix_token_id, *ids] if add_special_tokens else ids

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Returns the ids of both, [eod] first, by the rule of `evaluation`."""
        joined = join(self._vocabulary, context, continuation)
        return list(joined.context), list(joined.continuation)

    def _loglikelihood_tokens(
        self, requests: Sequence[Tokenized], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Returns for each continuation its log-likelihood in nats, and whether it is the greedy one."""

        answers = []
        for group in _groups(requests, "loglikelihood", disable_tqdm):
            queries = []
            for texts, context, continuation in group:
                joined = Joined(tuple(context), tuple(continuation), spans=False)
                queries += of_joined("", [Option(*texts)], [joined], self._model.reader)
            for (texts, *_), result in zip(group, run_all(queries, _score, self._model.engine), strict=True):
                greedy = all(token.id == token.top[0][0] for token in result.prompt)
                answers.append((total(_logprobs(result)), greedy))
                self.cache_hook.add_partial("loglikelihood", texts, answers[-1])
        return answers

    def loglikelihood_rolling(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[float]:
        """Returns the log-likelihood of each text in nats, in the windows in which `evaluation` scores texts."""

        answers = []
        for instance in tqdm(requests, "loglikelihood_rolling", disable=disable_tqdm):
            results = run_all(of_text(instance.args[0], self._model.reader), _score, self._model.engine)
            answers.append(sum(total(_logprobs(result)) for result in results))
            self.cache_hook.add_partial("loglikelihood_rolling", instance.args, answers[-1])
        return answers

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """Returns the answer to each context, up to its first stop string."""

        reader, answers, times = self._model.reader, dict[int, str](), Counter[str]()
        alike = defaultdict[Generation, list[int]](list)
        for place, instance in enumerate(requests):
            alike[generation(instance.args[1])].append(place)
        for how, places in alike.items():
            request = requests_of(Manner(how.stops, how.sampling, how.beams), self._vocabulary)
            for group in _groups(places, "generate_until", disable_tqdm):
                queries = []
                for place in group:
                    context = requests[place].args[0]
                    query = of_prompt("", context, how.tokens, reader)
                    if how.sampling.temperature:
                        query = query._replace(seed=self._seed_of(context, how, times[context]))
                        times[context] += 1
                    queries.append(query)
                results = run_all(queries, request, self._model.engine)
                for place, query, result in zip(group, queries, results, strict=True):
                    answers[place] = up_to_stop(answer_of(query, result, reader).text, how.stops)
                    self.cache_hook.add_partial("generate_until", requests[place].args, answers[place])
        return [answers[place] for place in range(len(requests))]

    def _seed_of(self, context: str, how: Generation, before: int) -> int:
        """Returns the seed of a sample: a function of the seed, the request, and how often it was made before."""
        name = json.dumps([self._seed, context, how, before])
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % SEEDS


def _score(query: Query) -> Request:
    """Returns the request that scores a continuation, and says which token is the likeliest at each place."""
    return replace(scoring(query.ids, query.continuation_ids, query.prefix), top=1)


def _logprobs(result: Result) -> list[float]:
    return [token.logprob for token in result.prompt if token.logprob is not None]


def generation(settings: dict[str, Any]) -> Generation:
    """Returns how an answer is generated, from lm-eval's settings of a request.

    Raises UserError for a setting that this model does not have.
    """
    known = normalize_gen_kwargs(settings)
    for name in known:
        if name not in _SETTINGS:
            raise UserError(f"generation_kwargs: no {name}{nearest(name, _SETTINGS)}; expected {', '.join(_SETTINGS)}")
    beams = known.get("num_beams", 1)
    given = {name: known[name] for name in _SAMPLING if known.get(name) is not None}
    sampling = Sampling(**given) if known["do_sample"] and known["temperature"] else Sampling()
    stops = tuple(stop for stop in known["until"] if stop)
    return Generation(known["max_gen_toks"], stops, sampling, beams if beams > 1 else 0)


def main(run: Path, step: int | None, arguments: Sequence[str]) -> None:
    """Runs lm-eval's own command line with a checkpoint as its model; `arguments` are lm-eval's."""
    # The children that lm-eval forks for its error bars would inherit locks of JAX's threads.
    os.environ.setdefault("DISABLE_MULTIPROC", "1")
    model = json.dumps({"pretrained": str(run), "step": step})
    sys.argv = ["palmetto lm-eval", "run", "--model", _NAME, "--model_args", model, *arguments]
    setup_logging()
    harness = HarnessCLI()
    harness.execute(harness.parse_args())


def _groups(requests: Iterable[Any], name: str, disable: bool) -> Iterator[list[Any]]:
    """Yields the requests in groups, and shows how many are answered."""
    shown = iter(tqdm(requests, name, disable=disable))
    while group := list(islice(shown, _TOGETHER)):
        yield group
