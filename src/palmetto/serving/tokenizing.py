"""Answers /tokenize, /detokenize and /tokenizer_info, in the form in which lm-eval asks for them."""

import codecs

from starlette.requests import Request
from starlette.responses import JSONResponse

from palmetto.serving.aside import aside
from palmetto.serving.bodies import parameters
from palmetto.serving.errors import bad
from palmetto.serving.parameters import Detokenize, Tokenize
from palmetto.serving.state import state


async def tokenize(request: Request) -> JSONResponse:
    """Answers with the ids of a text. No text gives the id of [eod], not even this name."""
    server = state(request)
    asked = await parameters(request, Tokenize, server.settings.body)
    served = server.model(asked.model)
    first = [served.vocabulary.beginning] if asked.add_special_tokens else []
    encoded = await aside(len(asked.prompt), lambda: served.vocabulary.encode(asked.prompt))
    ids = [*first, *encoded.tolist()]
    return JSONResponse({"tokens": ids, "count": len(ids), "max_model_len": served.longest})


async def detokenize(request: Request) -> JSONResponse:
    """Answers with the text of ids, with U+FFFD for bytes that are not UTF-8."""
    server = state(request)
    asked = await parameters(request, Detokenize, server.settings.body)
    pieces = server.model(asked.model).pieces
    if wrong := [id for id in asked.tokens if not 0 <= id < len(pieces.data)]:
        raise bad("tokens", f"{wrong[0]}: expected ids from 0 to {len(pieces.data) - 1}")
    data = b"".join(pieces.data[id] for id in asked.tokens)
    return JSONResponse({"prompt": codecs.decode(data, "utf-8", "replace")})


async def tokenizer_info(request: Request) -> JSONResponse:
    """Answers with what a client must know of the vocabulary, by default that of the first model."""
    served = state(request).model(request.query_params.get("model"))
    names = served.pieces.names
    return JSONResponse(
        {
            "tokenizer_class": "palmetto",
            "vocab_size": served.vocabulary.size,
            "eos_token": names[served.vocabulary.eod],
            "eos_token_id": served.vocabulary.eod,
            "bos_token": names[served.vocabulary.beginning],
            "bos_token_id": served.vocabulary.beginning,
            "pad_token": names[served.vocabulary.eod],
            "pad_token_id": served.vocabulary.eod,
            "model_max_length": served.longest,
            "chat_template": served.template.source,
            "digest": served.vocabulary.digest,
        }
    )
