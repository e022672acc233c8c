"""Holds what the end points of a server share."""

from typing import NamedTuple, cast

from starlette.requests import Request

from palmetto.errors import nearest
from palmetto.serving.errors import ApiError
from palmetto.serving.metrics import Metrics
from palmetto.serving.models import Served
from palmetto.serving.settings import Settings


class Server(NamedTuple):
    """Holds the models of a server by name, its settings and its metrics."""

    models: dict[str, Served]
    settings: Settings
    metrics: Metrics

    def model(self, name: str | None) -> Served:
        """Returns a model, the first for None; raises ApiError if there is none of this name."""
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            close = nearest(name, self.models)
            raise ApiError(404, f"model: there is no model {name[:100]!r}{close}", "model", "model_not_found")
        return self.models[name]


def state(request: Request) -> Server:
    """Returns what the end points share."""
    return cast(Server, request.app.state.server)
