"""Calls functions of the C library that Python does not have; where one fails, the kernel lacks a part."""

import ctypes
import os

_LIBRARY = ctypes.CDLL(None, use_errno=True)

_SET_PARENT_DEATH_SIGNAL = 1


class Lacking(Exception):
    """Raised if the kernel does not have, or does not allow, a part of the jail; the message names it."""


def call(part: str, function: str, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """Returns what a function of the C library returns; integers are passed as longs.

    Raises Lacking, which names the part of the jail, if it fails.
    """
    given = (ctypes.c_long(each) if isinstance(each, int) else each for each in arguments)
    result = int(getattr(_LIBRARY, function)(*given))
    if result < 0:
        raise Lacking(f"{part} ({os.strerror(ctypes.get_errno())})")
    return result


def die_with_parent() -> None:
    """Has the kernel kill this process when its parent ends."""
    call("the signal of a parent's death", "prctl", _SET_PARENT_DEATH_SIGNAL, 9, 0, 0, 0)
