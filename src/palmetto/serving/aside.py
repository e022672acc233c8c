"""Works on long texts beside the event loop, so that other clients do not wait for it."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

SHORT = 4000
"""The most characters whose work takes less time than a thread would."""


async def aside(characters: int, work: Callable[[], Result]) -> Result:
    """Returns the result of work on this number of characters; a thread does it if they are many."""
    return work() if characters <= SHORT else await asyncio.to_thread(work)
