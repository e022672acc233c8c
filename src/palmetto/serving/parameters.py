"""Says which parameters an end point takes. The description of a field is what is expected in errors and /openapi.json.

A parameter that is not here is refused, since an answer that ignored it would not be what was asked for.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from palmetto.recipe.chat_template import Message as TemplateMessage
from palmetto.recipe.segments import Role

Text = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Ids = Annotated[list[int], Field(min_length=1, fail_fast=True)]
Texts = Annotated[list[str], Field(min_length=1, fail_fast=True)]


class Parameters(BaseModel):
    """The JSON object of a request."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class StreamOptions(Parameters):
    """Says what a stream holds besides text."""

    include_usage: bool | None = Field(None, description="true or false: whether a last chunk counts the tokens")


class JsonSchema(Parameters):
    """A schema that the text will match."""

    name: str = Field(description="a name")
    description: str | None = Field(None, description="what it is for")
    schema_: dict[str, Any] | bool = Field(alias="schema", description="a JSON schema")
    strict: bool | None = Field(None, description="true or false; the text matches either way")


class PlainFormat(Parameters):
    """Any text."""

    type: Literal["text"]


class JsonFormat(Parameters):
    """Any JSON object."""

    type: Literal["json_object"]


class SchemaFormat(Parameters):
    """JSON that matches a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


class RegexFormat(Parameters):
    """Text that matches a regular expression as a whole."""

    type: Literal["regex"]
    regex: str = Field(max_length=10_000, description="a regular expression of at most 10,000 characters")


Format = Annotated[PlainFormat | JsonFormat | SchemaFormat | RegexFormat, Field(discriminator="type")]


class Generation(Parameters):
    """Holds what completions and chats have in common."""

    model: str = Field(description="the id of a model of /v1/models")
    temperature: float | None = Field(None, ge=0, description="a number from 0, which is greedy; by default 1")
    top_p: float | None = Field(None, gt=0, le=1, description="a number above 0, at most 1; by default 1")
    top_k: int | None = Field(None, ge=1, le=1 << 24, description="a number from 1; by default all tokens")
    min_p: float | None = Field(None, ge=0, le=1, description="a number from 0 to 1; by default 0")
    typical_p: float | None = Field(None, gt=0, le=1, description="a number above 0, at most 1; by default 1")
    repetition_penalty: float | None = Field(None, gt=0, le=100, description="a number above 0; by default 1")
    presence_penalty: float | None = Field(None, ge=-2, le=2, description="a number from -2 to 2; by default 0")
    frequency_penalty: float | None = Field(None, ge=-2, le=2, description="a number from -2 to 2; by default 0")
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = Field(
        None, max_length=1024, description="an object from token ids to numbers from -100 to 100, at most 1,024"
    )
    banned_tokens: Ids | None = Field(None, description="a list of ids, which are never generated; by default none")
    forced_tokens: Ids | None = Field(None, description="a list of ids, which are generated first; by default none")
    priority: int | None = Field(
        None, ge=0, lt=2**31, description="an integer from 0, of which higher ones wait for lower ones; by default 0"
    )
    n: int | None = Field(None, ge=1, le=128, description="a number from 1 to 128; by default 1")
    use_beam_search: bool | None = Field(None, description="true or false: search with beams; by default false")
    length_penalty: float | None = Field(
        None, ge=0, le=10, description='a number from 0 to 10, beside "use_beam_search": true; by default 0.6'
    )
    logprobs_mode: Literal["raw_logprobs", "processed_logprobs"] | None = Field(
        None, description='"raw_logprobs", the default, or "processed_logprobs", beside logprobs'
    )
    seed: int | None = Field(
        None, ge=-(2**63), lt=2**64, description="an integer of 64 bits; by default one that is drawn anew"
    )
    stop: Text | Annotated[list[Text], Field(max_length=64)] | None = Field(
        None, description="a string, or at most 64, none empty or longer than 1,000 characters"
    )
    stream: bool | None = Field(None, description="true or false; by default false")
    stream_options: StreamOptions | None = Field(None, description='{"include_usage": true} beside "stream": true')
    response_format: Format | None = Field(
        None,
        description='{"type": "text"}, {"type": "json_object"}, {"type": "json_schema", "json_schema": {"name": …, '
        '"schema": …}} or {"type": "regex", "regex": …}',
    )

    @property
    def stops(self) -> list[str]:
        """Returns the stop strings."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def counts(self) -> bool:
        """Returns whether a stream ends with a chunk that counts the tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)


class Completion(Generation):
    """Asks for continuations of prompts."""

    prompt: str | Texts | Ids | Annotated[list[Ids], Field(min_length=1, fail_fast=True)] | None = Field(
        None, description="a string, strings, ids or lists of ids, none empty; null for the beginning of a document"
    )
    max_tokens: int | None = Field(None, ge=0, description="a number from 0; by default 16")
    best_of: int | None = Field(None, ge=1, le=128, description="a number from n to 128; by default n")
    echo: bool | None = Field(None, description="true or false; by default false")
    logprobs: int | None = Field(None, ge=0, le=20, description="a number from 0 to 20; by default none")
    suffix: str | None = Field(None, description="the text after the one that is generated")


class Part(Parameters):
    """A part of a message."""

    type: Literal["text"]
    text: str


class Message(Parameters):
    """A message of a chat."""

    role: Role
    content: str | list[Part]

    @property
    def plain(self) -> TemplateMessage:
        """Returns the message as templates take it."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": self.role, "content": text}


class Chat(Generation):
    """Asks for the next message of a chat."""

    messages: list[Message] = Field(
        min_length=1, description='messages {"role": …, "content": …} of system, developer, user and assistant'
    )
    max_tokens: int | None = Field(None, ge=1, description="a number from 1; by default as many as fit")
    max_completion_tokens: int | None = Field(None, ge=1, description="a number from 1; by default as many as fit")
    logprobs: bool | None = Field(None, description="true or false; by default false")
    top_logprobs: int | None = Field(None, ge=0, le=20, description='a number from 0 to 20, beside "logprobs": true')


class Tokenize(Parameters):
    """Asks for the ids of a text."""

    prompt: str = Field(description="a string")
    model: str | None = Field(None, description="the id of a model of /v1/models; by default the first")
    add_special_tokens: bool | None = Field(
        None, description="true or false: whether [eod] stands in front; by default false"
    )


class Detokenize(Parameters):
    """Asks for the text of ids."""

    tokens: Annotated[list[int], Field(fail_fast=True)] = Field(description="token ids")
    model: str | None = Field(None, description="the id of a model of /v1/models; by default the first")
