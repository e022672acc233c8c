"""Several models in one server, and newer checkpoints of them."""

import asyncio
import gc
import time
import weakref
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from palmetto.decoding.request import Finish, Request, Token
from palmetto.errors import UserError
from palmetto.recipe.chat_template import TRANSCRIPT
from palmetto.recipe.segments import Special
from palmetto.runs.directory import RunDirectory
from palmetto.serving.app import application
from palmetto.serving.server import load
from palmetto.serving.settings import Settings
from palmetto.serving.worker import Call, Worker
from palmetto.tokens.vocabulary import Vocabulary
from tests.conftest import RecipeMaker
from tests.decoding.test_trained import save
from tests.references.drawn_runs import make_run
from tests.serving.conftest import LIMITS

TEMPLATE = "{{ messages[-1].content }}{{ eos_token }}"
LONG = Request((5, 9, 300), tokens=60)


async def finished(call: Call) -> list[Token]:
    tokens = list[Token]()
    async for news in call.news(time.monotonic() + 30):
        for _, event in news:
            tokens += event.tokens
            if event.finish:
                assert event.finish == Finish.LENGTH
                return tokens
    raise AssertionError("the request does not end")


async def alone(worker: Worker) -> list[Token]:
    return await finished(await worker.submit([LONG]))


@pytest.fixture
def two(run: RunDirectory, tiny_recipe: RecipeMaker, tmp_path: Path) -> dict[str, RunDirectory]:
    other = make_run(tmp_path / "other", tiny_recipe, f"tokens.chat_template='{TEMPLATE}'")
    save(other, 11)
    return {"tiny": run, "other": other}


def test_models_and_their_checkpoints_answer_side_by_side(two: dict[str, RunDirectory]) -> None:
    server = load(two, LIMITS, Settings())
    client = TestClient(application(server))
    models = client.get("/v1/models").json()["data"]
    assert [(model["id"], model["step"]) for model in models] == [("tiny", 10), ("other", 11)]
    asked = {"prompt": "def ", "temperature": 0, "logprobs": 1}
    first, second = (client.post("/v1/completions", json={"model": name, **asked}).json() for name in two)
    assert first["system_fingerprint"] != second["system_fingerprint"]
    assert first["choices"] != second["choices"]

    served = server.models["other"]
    assert [one.template.source for one in server.models.values()] == [TRANSCRIPT, TEMPLATE]
    said = {"messages": [{"role": "user", "content": "def "}], "max_tokens": 1}
    chat = client.post("/v1/chat/completions", json={"model": "other", **said}).json()
    assert chat["usage"]["prompt_tokens"] == 1 + len(served.vocabulary.encode("def ")) + 1, "[eod] twice"

    async def renewed() -> None:
        old = served.current
        weights = weakref.ref(old.weights.embedding)
        before = await alone(old.worker)
        following = asyncio.ensure_future(served.follow(0.02))
        call = await old.worker.submit([LONG])
        save(two["other"], 12)
        while served.current.step != 12:
            await asyncio.sleep(0.02)
        assert await finished(call) == before, "what the old checkpoint has begun, it finishes"
        assert await alone(served.current.worker) != before
        while old.worker._thread.is_alive():
            await asyncio.sleep(0.02)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        del old, call
        gc.collect()
        assert weights() is None, "nobody holds the old weights"

    asyncio.run(renewed())
    third = client.post("/v1/completions", json={"model": "other", **asked}).json()
    assert third["system_fingerprint"] not in (first["system_fingerprint"], second["system_fingerprint"])
    for one in server.models.values():
        one.current.worker.close()


def test_the_servers_template_comes_before_that_of_a_recipe(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Vocabulary, "specials", [Special("<turn>")])
    server = load({"tiny": run}, LIMITS, Settings(template="<turn>{{ messages }}"))
    served = server.models["tiny"]
    served.current.worker.close()
    assert served.template.source == "<turn>{{ messages }}"
    assert [segment.special for segment in served.template.prompt([])] == ["<turn>", ""]
    with pytest.raises(UserError, match=r"^--chat-template: line 1: not a Jinja template"):
        load({"tiny": run}, LIMITS, Settings(template="{% for message in %}"))
