"""The segments of an example or a chat: parts of its text that become tokens each by itself."""

from typing import Literal, NamedTuple, get_args

Role = Literal["system", "developer", "user", "assistant"]
"""Who writes a message of a chat."""
ROLES: tuple[str, ...] = get_args(Role)


class Special(NamedTuple):
    """Describes a special token of an imported tokenizer, which templates of chats may write."""

    name: str
    left: bool = False
    """Says whether it takes along the white space before it."""
    right: bool = False
    """Says whether it takes along the white space after it."""


class Segment(NamedTuple):
    """Holds a part of a text. It is encoded by itself, as an answer is generated after its prompt."""

    text: str
    predicted: bool
    """True if fine-tuning predicts it, as it does what the assistant says in a chat."""
    ends: bool = False
    """Says whether [eod] stands after it, as a turn of a chat may end."""
    special: str = ""
    """The name of another special token that stands after it; empty for none."""
