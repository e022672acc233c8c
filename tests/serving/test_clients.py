"""The openai package, as programs use it: sync and async, streaming and not."""

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
import pytest

MESSAGES: list[dict[str, Any]] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}]


@pytest.fixture(scope="module")
def sync(url: str) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_models_are_listed_and_looked_up(sync: Any) -> None:
    assert [model.id for model in sync.models.list()] == ["tiny"]
    assert sync.models.retrieve("tiny").owned_by == "palmetto"
    with pytest.raises(openai.NotFoundError):
        sync.models.retrieve("other")


def test_a_completion_streams_to_the_same_text(sync: Any) -> None:
    whole = sync.completions.create(model="tiny", prompt="def ", seed=5, max_tokens=30, logprobs=2)
    stream = sync.completions.create(model="tiny", prompt="def ", seed=5, max_tokens=30, logprobs=2, stream=True)
    parts = [part for part in stream if part.choices]
    assert "".join(part.choices[0].text for part in parts) == whole.choices[0].text
    assert parts[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert len({part.id for part in parts}) == 1
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 30


def test_a_chat_streams_to_the_same_text(sync: Any) -> None:
    asked: dict[str, Any] = {"model": "tiny", "messages": MESSAGES, "seed": 5, "max_completion_tokens": 30}
    whole = sync.chat.completions.create(**asked, logprobs=True, top_logprobs=3)
    stream = sync.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    *parts, last = list(stream)
    assert parts[0].choices[0].delta.role == "assistant"
    assert "".join(part.choices[0].delta.content for part in parts) == whole.choices[0].message.content
    assert last.choices == []
    assert last.usage == whole.usage
    content = whole.choices[0].logprobs.content
    assert len(content) == whole.usage.completion_tokens
    data = b"".join(bytes(entry.bytes) for entry in content)
    assert data.decode(errors="replace") == whole.choices[0].message.content
    assert all(len(entry.top_logprobs) == 3 for entry in content)


def test_a_chat_of_a_base_model_is_a_transcript(sync: Any) -> None:
    chat = sync.chat.completions.create(model="tiny", messages=MESSAGES, seed=5, max_tokens=20)
    transcript = "System: Be brief.\n\nUser: Hello?\n\nAssistant:"
    plain = sync.completions.create(model="tiny", prompt=transcript, seed=5, max_tokens=20)
    assert chat.choices[0].message.content == plain.choices[0].text
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo?"}]
    split = sync.chat.completions.create(
        model="tiny", messages=[MESSAGES[0], {"role": "user", "content": parts}], seed=5, max_tokens=20
    )
    assert split.choices[0].message.content == chat.choices[0].message.content


def test_refusals_raise_the_classes_of_the_client(sync: Any) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        sync.completions.create(model="other", prompt="a")
    assert missing.value.code == "model_not_found"
    assert str(missing.value.request_id).startswith("req_")
    with pytest.raises(openai.BadRequestError) as bad:
        sync.completions.create(model="tiny", prompt="a", temperature=-1)
    assert bad.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as bad:
        sync.chat.completions.create(model="tiny", messages=MESSAGES, tools=[])
    assert bad.value.param == "tools"


def test_asynchronous_clients_get_the_same_answers(url: str, sync: Any) -> None:
    async def all_at_once() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:

            async def whole(seed: int) -> str:
                answer = await client.completions.create(model="tiny", prompt="def ", seed=seed, max_tokens=20)
                return answer.choices[0].text

            async def streamed(seed: int) -> str:
                stream = await client.completions.create(
                    model="tiny", prompt="def ", seed=seed, max_tokens=20, stream=True
                )
                return "".join([part.choices[0].text async for part in stream])

            return await asyncio.gather(*map(whole, range(8)), *map(streamed, range(8)))

    expected = [
        sync.completions.create(model="tiny", prompt="def ", seed=seed, max_tokens=20).choices[0].text
        for seed in range(8)
    ]
    assert asyncio.run(all_at_once()) == expected * 2
