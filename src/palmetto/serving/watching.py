"""Answers what those who run a server ask it: its models, its health, its metrics."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from palmetto.serving.state import state


async def models(request: Request) -> JSONResponse:
    """Answers with the models, in the order in which they were given."""
    entries = [
        {
            "id": name,
            "object": "model",
            "created": served.created,
            "owned_by": "palmetto",
            "step": served.current.step,
            "max_model_len": served.longest,
        }
        for name, served in state(request).models.items()
    ]
    if (name := request.path_params.get("model")) is None:
        return JSONResponse({"object": "list", "data": entries})
    state(request).model(name)
    return JSONResponse(next(entry for entry in entries if entry["id"] == name))


async def health(request: Request) -> JSONResponse:
    """Answers 200 if every engine moves or has nothing to do, otherwise 503 with what is wrong."""
    server = state(request)
    wrong = {}
    for name, served in server.models.items():
        worker = served.current.worker
        if worker.failed:
            wrong[name] = f"the engine has failed ({worker.failed})"
        elif worker.silence > server.settings.stalled:
            wrong[name] = f"no step has ended for {worker.silence:.0f} seconds"
    return JSONResponse({"status": "unhealthy" if wrong else "ok", "models": wrong}, 503 if wrong else 200)


async def metrics(request: Request) -> Response:
    """Answers with all metrics in Prometheus's text format."""
    server = state(request)
    for name, served in server.models.items():
        worker = served.current.worker
        server.metrics.note(name, worker.waiting, worker.running, await worker.figures())
    return Response(server.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
