"""Makes the application, which says which function answers each path."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib import resources

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from palmetto.report.frame import variables
from palmetto.serving.access import Access
from palmetto.serving.chats import chats
from palmetto.serving.completions import completions
from palmetto.serving.errors import ApiError, answer
from palmetto.serving.openapi import document
from palmetto.serving.state import Server
from palmetto.serving.tokenizing import detokenize, tokenize, tokenizer_info
from palmetto.serving.watching import health, metrics, models

_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""The page may load and reach nothing but this server."""


def application(server: Server) -> ASGIApp:
    """Returns the application that serves models."""

    @contextlib.asynccontextmanager
    async def following(app: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.ensure_future(one.follow(server.settings.watch)) for one in server.models.values()]
        yield
        for task in tasks:
            task.cancel()

    described = document()

    async def openapi(request: Request) -> JSONResponse:
        return JSONResponse(described)

    routes = [
        Route("/v1/completions", completions, methods=["POST"]),
        Route("/v1/chat/completions", chats, methods=["POST"]),
        Route("/v1/models", models),
        Route("/v1/models/{model:path}", models),
        Route("/tokenize", tokenize, methods=["POST"]),
        Route("/detokenize", detokenize, methods=["POST"]),
        Route("/tokenizer_info", tokenizer_info),
        Route("/health", health),
        Route("/metrics", metrics),
        Route("/openapi.json", openapi),
        *_page(),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={ApiError: _refuse, HTTPException: _refuse_path, Exception: _fail},
        lifespan=following,
    )
    app.state.server = server
    return Access(app, server.settings, routes, server.metrics)


def _page() -> list[Route]:
    """Returns the files of the page for people, read once."""
    folder = resources.files("palmetto.serving") / "page"
    files = {
        "/": ("text/html", (folder / "index.html").read_text()),
        "/page.css": ("text/css", variables() + (folder / "page.css").read_text()),
        "/page.js": ("text/javascript", (folder / "page.js").read_text()),
    }

    def route(path: str, kind: str, text: str) -> Route:
        headers = {
            "content-security-policy": _POLICY,
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
        }

        async def file(request: Request) -> Response:
            return Response(text, media_type=kind, headers=headers)

        return Route(path, file)

    return [route(path, *file) for path, file in files.items()]


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return answer(error)


async def _refuse_path(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code)
    return answer(ApiError(error.status_code, str(error.detail), code=code, headers=dict(error.headers or {})))


async def _fail(request: Request, error: Exception) -> Response:
    return answer(ApiError(500, "the server has failed"))
