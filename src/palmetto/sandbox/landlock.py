"""Restricts which files this process may read and write, by Landlock."""

import ctypes
import os
import struct
from collections.abc import Iterable

from palmetto.sandbox.kernel import call

_CREATE, _ADD, _RESTRICT = 444, 445, 446
"""The numbers of the system calls, the same on all machines."""
_ASK_VERSION, _BENEATH = 1, 1

_READ_FILE, _READ_FOLDER = 1 << 2, 1 << 3
_READ = _READ_FILE | _READ_FOLDER
_WRITE_FILE, _REMOVE_FOLDER, _REMOVE_FILE, _MAKE_FOLDER, _MAKE_FILE = (1 << bit for bit in (1, 4, 5, 7, 8))
_MOVE, _TRUNCATE = 1 << 13, 1 << 14
_WRITE = _READ | _WRITE_FILE | _REMOVE_FOLDER | _REMOVE_FILE | _MAKE_FOLDER | _MAKE_FILE | _MOVE | _TRUNCATE

_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
"""The number of rights over files that each version of Landlock knows; later ones know 16."""


def restrict(read: Iterable[str], write: str) -> None:
    """Lets this process read beneath some paths and write beneath one, and nothing else, for good.

    Paths that are not there are left out. Raises Lacking if the kernel has no Landlock.
    """
    version = call("Landlock", "syscall", _CREATE, None, 0, _ASK_VERSION)
    handled = (1 << _RIGHTS.get(version, 16)) - 1
    rules = call("Landlock", "syscall", _CREATE, ctypes.create_string_buffer(struct.pack("=Q", handled)), 8, 0)
    for path, rights in (*((path, _READ) for path in read), (write, _WRITE)):
        if os.path.exists(path):
            _add(rules, path, rights & handled)
    call("Landlock", "syscall", _RESTRICT, rules, 0)
    os.close(rules)


def _add(rules: int, path: str, rights: int) -> None:
    beneath = os.open(path, os.O_PATH)
    if not os.path.isdir(path):
        rights &= ~_READ_FOLDER
    rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, beneath))
    call("Landlock", "syscall", _ADD, rules, _BENEATH, rule, 0)
    os.close(beneath)
