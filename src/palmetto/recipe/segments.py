"""The segments of an example or a chat: parts of its text that become tokens each by itself."""

from typing import NamedTuple


class Segment(NamedTuple):
    """Holds a part of a text. It is encoded by itself, as an answer is generated behind its prompt."""

    text: str
    predicted: bool
    """Whether fine-tuning predicts it, as it does what the assistant says in a chat."""
    ends: bool = False
    """Whether [eod] stands behind it, as a turn of a chat may end."""
