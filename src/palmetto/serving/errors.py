"""Errors in the form in which clients of OpenAI's API expect them. The status decides which class a client raises."""

from typing import Any

from starlette.responses import JSONResponse

_TYPES = {401: "authentication_error", 429: "rate_limit_error"}

_LONGEST = 100
"""The most characters of a parameter's name that an error repeats."""

_LATEST = 60
"""The most seconds after which clients are asked to try again; some versions of OpenAI's library ignore more."""


class ApiError(Exception):
    """An answer other than the one that was asked for."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.headers = status, message, param, code, headers

    @property
    def body(self) -> dict[str, Any]:
        """Returns the JSON of the error."""
        usual = "server_error" if self.status >= 500 else "invalid_request_error"
        kind = _TYPES.get(self.status, usual)
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def bad(param: str | None, message: str, code: str = "invalid_value") -> ApiError:
    """Returns the error of a request that names a parameter and what it should be."""
    if param and len(param) > _LONGEST:
        param = f"{param[:_LONGEST]}…"
    return ApiError(400, f"{param}: {message}" if param else message, param, code)


def busy(message: str, seconds: int = 1) -> ApiError:
    """Returns the error of a request that would succeed later; clients try again after `seconds`."""
    return ApiError(429, message, code="overloaded", headers={"retry-after": str(min(max(seconds, 1), _LATEST))})


def ending() -> ApiError:
    """Returns the error of a request that the end of the server cuts off."""
    return ApiError(503, "the server ends", code="shutting_down", headers={"retry-after": "1"})


def answer(error: ApiError) -> JSONResponse:
    """Returns the response for an error."""
    return JSONResponse(error.body, error.status, error.headers)
