"""POST /v1/chat/completions."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from palmetto.decoding.choices import Delta
from palmetto.decoding.text import Pieces
from palmetto.errors import UserError
from palmetto.serving.answers import Generating, number
from palmetto.serving.aside import aside
from palmetto.serving.bodies import parameters
from palmetto.serving.errors import bad
from palmetto.serving.following import Prompt
from palmetto.serving.parameters import Chat
from palmetto.serving.prompts import Wanted
from palmetto.serving.state import state
from palmetto.tokens.chats import encode_chat
from palmetto.tokens.vocabulary import Ids


class ChatForm:
    """Writes choices as messages of an assistant."""

    prefix = "chatcmpl"
    whole = "chat.completion"
    part = "chat.completion.chunk"

    def __init__(self, pieces: Pieces, top: int | None) -> None:
        self._pieces, self._top = pieces, top

    def choice(self, index: int, delta: Delta) -> dict[str, Any]:
        """Returns a whole choice."""
        message = {"role": "assistant", "content": delta.text, "refusal": None}
        return {"index": index, "message": message, **self._rest(delta)}

    def opening(self, index: int) -> dict[str, Any]:
        """Returns the first chunk, which has the role."""
        return {"index": index, "delta": {"role": "assistant", "content": ""}, **self._rest(Delta())}

    def chunk(self, index: int, delta: Delta) -> dict[str, Any]:
        """Returns a chunk of text."""
        return {"index": index, "delta": {"content": delta.text}, **self._rest(delta)}

    def _rest(self, delta: Delta) -> dict[str, Any]:
        return {"logprobs": self._logprobs(delta), "finish_reason": delta.finish}

    def _logprobs(self, delta: Delta) -> dict[str, Any] | None:
        if self._top is None:
            return None
        content = [
            {
                **self._entry(token.id, token.logprob),
                "top_logprobs": [self._entry(id, logprob) for id, logprob in token.top[: self._top]],
            }
            for token, _ in delta.tokens
        ]
        return {"content": content, "refusal": None}

    def _entry(self, id: int, logprob: float | None) -> dict[str, Any]:
        return {
            "token": self._pieces.names[id],
            "bytes": list(self._pieces.data[id]),
            "logprob": number(logprob),
        }


async def chats(request: Request) -> Response:
    """Answers with the next message of a chat."""
    server = state(request)
    asked = await parameters(request, Chat, server.settings.body)
    served = server.model(asked.model)
    if asked.top_logprobs is not None and not asked.logprobs:
        raise bad("top_logprobs", 'expected only beside "logprobs": true')
    if asked.max_tokens is not None and asked.max_completion_tokens is not None:
        raise bad("max_tokens", "expected only one of max_tokens and max_completion_tokens")
    top = (asked.top_logprobs or 0) if asked.logprobs else None
    n = asked.n or 1
    wanted = Wanted(
        tokens=asked.max_completion_tokens or asked.max_tokens,
        usual=None,
        choices=n,
        beams=n if asked.use_beam_search else 0,
        top=top,
        names={
            "prompt": "messages",
            "tokens": "max_tokens" if asked.max_completion_tokens is None else "max_completion_tokens",
            "choices": "n",
            "beams": "n",
        },
    )
    messages = [message.plain for message in asked.messages]

    def encoded() -> Ids:
        return encode_chat(served.template.prompt(messages), served.vocabulary)

    try:
        ids = await aside(sum(len(message["content"]) for message in messages), encoded)
    except UserError as error:
        raise bad("messages", str(error)) from None
    generating = Generating(served, server.settings, server.metrics, asked, wanted, ChatForm(served.pieces, top))
    return await generating.respond(request, [Prompt(tuple(ids.tolist()), 1)], [*asked.stops, *served.template.stops])
