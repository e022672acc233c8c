"""Makes the OpenAPI document of the end points from the classes that check their parameters."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from palmetto import __version__
from palmetto.serving.parameters import Chat, Completion, Detokenize, Parameters, Tokenize

_BODIES: dict[str, tuple[type[Parameters], str, str]] = {
    "/v1/completions": (Completion, "Continues prompts.", "text/event-stream"),
    "/v1/chat/completions": (Chat, "Writes the next message of a chat.", "text/event-stream"),
    "/tokenize": (Tokenize, "Turns text into ids.", ""),
    "/detokenize": (Detokenize, "Turns ids into text.", ""),
}
_PLAIN = {
    "/v1/models": "Lists the models.",
    "/v1/models/{model}": "Describes a model.",
    "/tokenizer_info": "Describes the vocabulary of a model.",
    "/health": "Reports whether the engines make progress.",
    "/metrics": "Gives metrics in Prometheus's text format.",
}
_REFUSALS = {
    "400": "A parameter is unknown, unsupported or out of range; `param` names it.",
    "401": "The API key is missing or wrong.",
    "404": "There is no such model.",
    "408": "The body took too long to arrive.",
    "421": "The request names another host.",
    "413": "The body is too large.",
    "429": "Too many prompts are waiting; `retry-after` says when to try again.",
    "500": "The server has failed.",
    "503": "The server ends; `retry-after` says when to try again, with its successor.",
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def document() -> dict[str, Any]:
    """Returns the OpenAPI document, as JSON values."""
    kinds: list[tuple[type[BaseModel], Any]] = [(kind, "validation") for kind, _, _ in _BODIES.values()]
    _, schemas = models_json_schema(kinds, ref_template="#/components/schemas/{model}")
    paths: dict[str, Any] = {path: {"get": _operation(path, text)} for path, text in _PLAIN.items()}
    named = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
    paths["/v1/models/{model}"]["parameters"] = [named]
    for path, (kind, text, streamed) in _BODIES.items():
        schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
        body = {"required": True, "content": {"application/json": {"schema": schema}}}
        paths[path] = {"post": {**_operation(path, text, streamed), "requestBody": body}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Palmetto", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": {**schemas["$defs"], "Error": _ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(path: str, text: str, streamed: str = "") -> dict[str, Any]:
    kind = "text/plain" if path == "/metrics" else "application/json"
    content: dict[str, Any] = {kind: {}} | ({streamed: {}} if streamed else {})
    refusals = dict(_REFUSALS)
    if path == "/health":
        refusals["503"] = "An engine has failed or is stalled, or the server ends."
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        "summary": text,
        "operationId": path.strip("/").replace("/", "_").replace("v1_", "").replace("models_{model}", "model"),
        "responses": {
            "200": {"description": "The answer.", "content": content},
            **{status: {"description": what, "content": error} for status, what in refusals.items()},
        },
    }
