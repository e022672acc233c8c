"""Works in threads beside the event loop, so that other clients do not wait for it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")

SHORT = 4000
"""The most characters whose work takes less time than a thread would."""

_THREADS = ThreadPoolExecutor(thread_name_prefix="aside")
"""Threads for which the end of an event loop does not wait, as it would for those of its own executor."""


async def in_thread(work: Callable[[], Result]) -> Result:
    """Returns the result of work that a thread does."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, work)


async def aside(characters: int, work: Callable[[], Result]) -> Result:
    """Returns the result of work on this number of characters; a thread does it if they are many."""
    return work() if characters <= SHORT else await in_thread(work)
