"""Reads the body of a request: its size, its time, its JSON, its parameters."""

import asyncio
import json
import re
from collections import Counter
from typing import Any, TypeVar

from pydantic import ValidationError
from starlette.requests import ClientDisconnect, Request

from palmetto.errors import nearest
from palmetto.serving.errors import ApiError, bad
from palmetto.serving.parameters import Parameters

SECONDS = 30.0
"""The longest time that a body may take to arrive."""
_SHOWN = 60
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
"""An escape that may be half of a surrogate pair."""

Kind = TypeVar("Kind", bound=Parameters)


async def parameters(request: Request, kind: type[Kind], limit: int) -> Kind:
    """Returns the parameters in a request's body; raises ApiError that names the one that is wrong."""
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise bad(None, "the content-type must be application/json")  # which no other site's page can send unasked
    try:
        async with asyncio.timeout(SECONDS):
            data = await _read(request, limit)
    except TimeoutError:
        raise ApiError(408, f"the body took longer than {SECONDS:g} seconds") from None
    try:
        values = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise bad(None, f"the body is not JSON in UTF-8 ({error})") from None
    if not isinstance(values, dict):
        raise bad(None, "the body must be a JSON object")
    if _HALF.search(data):
        _check_text(values)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise _refusal(error, kind, values) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns a JSON object; raises ApiError if a name is no text or occurs twice."""
    values = dict(pairs)
    try:
        "".join(values).encode()
    except UnicodeEncodeError as error:
        raise bad(None, f"a name in the body has half a surrogate pair ({error.object[error.start]!a})") from None
    if len(values) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise bad(twice, "given twice", "duplicate_parameter")
    return values


def _check_text(values: dict[str, Any]) -> None:
    """Raises ApiError if a parameter holds what is no text, and would not come back as it is."""
    for name, value in values.items():
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise bad(name, f"has half a surrogate pair ({error.object[error.start]!a}); expected text") from None


async def _read(request: Request, limit: int) -> bytes:
    data = bytearray()
    try:
        async for part in request.stream():
            data += part
            if len(data) > limit:
                raise ApiError(413, f"the body has more than {limit:,} bytes", code="body_too_large")
    except ClientDisconnect:
        raise ApiError(400, "the body ends too early") from None
    return bytes(data)


def _refusal(error: ValidationError, kind: type[Parameters], values: dict[str, Any]) -> ApiError:
    """Returns the error that names a parameter, its value and what is expected."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    name = str(first["loc"][0])
    fields = {field.alias or key: field for key, field in kind.model_fields.items()}
    if name not in fields:
        return bad(name, f"no such parameter here{nearest(name, fields)}", "unknown_parameter")
    expected = fields[name].description
    if name not in values:
        return bad(name, f"missing: expected {expected}", "missing_required_parameter")
    shown = repr(values[name])
    return bad(name, f"{shown if len(shown) <= _SHOWN else f'{shown[:_SHOWN]}…'}: expected {expected}")
