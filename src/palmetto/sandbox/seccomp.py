"""Restricts this process to the allowed system calls, by a program for the kernel's packet filter."""

import ctypes
import platform
import struct

from palmetto.sandbox.kernel import Lacking, call
from palmetto.sandbox.syscalls import ALLOWED

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4
"""The places of the system call's number and of the architecture in what a filter is given."""
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x0005000D, 0x80000000
"""The values that a filter returns; a refused call fails with EACCES, for which Python has ways around."""
_SET_SECCOMP, _FILTER = 22, 2


def program(machine: str) -> bytes:
    """Returns the filter for a machine: instructions of 8 bytes each."""
    numbers = ALLOWED[machine].values()
    lines = [(_LOAD, 0, 0, _ARCHITECTURE_AT), (_IF_EQUAL, 1, 0, _ARCHITECTURES[machine]), (_RETURN, 0, 0, _KILL)]
    lines.append((_LOAD, 0, 0, _NUMBER_AT))
    # A number that is found jumps over the rest of them and over the refusal.
    lines += [(_IF_EQUAL, len(numbers) - place, 0, number) for place, number in enumerate(numbers)]
    lines += [(_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def restrict() -> None:
    """Restricts this process for good; Lacking if the kernel does not know how, or the machine is another."""
    machine = platform.machine()
    if machine not in ALLOWED:
        raise Lacking(f"seccomp for {machine}; it is written for {' and '.join(ALLOWED)}")
    instructions = ctypes.create_string_buffer(program(machine))
    length = (len(instructions) - 1) // 8
    pointed = struct.pack("@HP", length, ctypes.addressof(instructions))
    call("seccomp", "prctl", _SET_SECCOMP, _FILTER, ctypes.create_string_buffer(pointed), 0, 0)
