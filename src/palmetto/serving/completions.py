"""POST /v1/completions."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from palmetto.decoding.choices import Delta, Reported
from palmetto.decoding.text import Pieces
from palmetto.serving.answers import Generating, number
from palmetto.serving.bodies import parameters
from palmetto.serving.errors import bad
from palmetto.serving.parameters import Completion
from palmetto.serving.prompts import Wanted, prompts_of
from palmetto.serving.state import state

_TOKENS = 16
"""The number of tokens by default, as in OpenAI's API."""


class CompletionForm:
    """Writes choices as completions."""

    prefix = "cmpl"
    whole = part = "text_completion"

    def __init__(self, pieces: Pieces, top: int | None) -> None:
        self._pieces, self._top = pieces, top

    def choice(self, index: int, delta: Delta) -> dict[str, Any]:
        """Returns a whole choice."""
        logprobs = None if self._top is None else self._logprobs(delta.tokens, self._top)
        return {"index": index, "text": delta.text, "logprobs": logprobs, "finish_reason": delta.finish}

    def opening(self, index: int) -> None:
        """Returns None: the first chunk has text."""

    def chunk(self, index: int, delta: Delta) -> dict[str, Any]:
        """Returns a chunk, which has the form of a whole choice."""
        return self.choice(index, delta)

    def _logprobs(self, tokens: list[Reported], top: int) -> dict[str, Any]:
        return {
            "tokens": [self._pieces.names[token.id] for token, _ in tokens],
            "token_logprobs": [number(token.logprob) for token, _ in tokens],
            "top_logprobs": [
                None
                if token.logprob is None
                else {
                    self._pieces.names[id]: number(logprob)
                    for id, logprob in (*token.top[:top], (token.id, token.logprob))
                }
                for token, _ in tokens
            ],
            "text_offset": [offset for _, offset in tokens],
        }


async def completions(request: Request) -> Response:
    """Answers with continuations of prompts."""
    server = state(request)
    asked = await parameters(request, Completion, server.settings.body)
    served = server.model(asked.model)
    n = asked.n or 1
    if asked.best_of is not None and asked.best_of < n:
        raise bad("best_of", f"{asked.best_of}: expected at least n={n}")
    if asked.suffix is not None and asked.echo:
        raise bad("echo", "true: expected false beside suffix")
    several = "n" if asked.best_of is None else "best_of"
    wanted = Wanted(
        tokens=asked.max_tokens,
        usual=_TOKENS,
        choices=n if asked.use_beam_search else asked.best_of or n,
        beams=(asked.best_of or n) if asked.use_beam_search else 0,
        top=asked.logprobs,
        names={
            "prompt": "prompt",
            "tokens": "max_tokens",
            "choices": "n" if asked.use_beam_search else several,
            "beams": several,
        },
        echo=bool(asked.echo),
        suffix=asked.suffix,
    )
    form = CompletionForm(served.pieces, asked.logprobs)
    generating = Generating(served, server.settings, server.metrics, asked, wanted, form)
    prompts = await prompts_of(served, server.settings, asked.prompt)
    return await generating.respond(request, prompts, asked.stops)
