"""Confines a process and runs a program in it: what `running` starts, in an interpreter of its own.

The first process leaves for namespaces of its own and forks. Its child, the first process of the new process
namespace, gives up everything that it does not need and runs the program; the first one watches it and reports how
it ended. Each dies with its parent, and with the child all that could be in its namespace.

A program has passed if its process waits, after the last line, in the call in which it waited before the first. Whether
it does, its parent sees in /proc: in the kernel, by where the stack stands. No text, descriptor or exit status says it,
which a program could find or imitate: whatever a program calls, it calls from deeper in the stack.
"""

import ctypes
import json
import os
import resource
import select
import signal
import struct
import sys
import time
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, NoReturn

from palmetto.sandbox import landlock, seccomp
from palmetto.sandbox.kernel import Lacking, call, die_with_parent

FILES = 16 * 2**20
"""The most bytes of a file, and of all files of a program."""
_DESCRIPTORS = 64
_LOOKING = 0.001
"""The seconds between two looks at a program."""
_ENDING = 1.0
"""The most seconds that a process takes to end."""
_SELECT = {"23", "72", "270"}
"""The numbers of the system calls in which `select` waits, on x86-64 and on aarch64."""

_NAMESPACES = {
    "user": 0x10000000,
    "network": 0x40000000,
    "process": 0x20000000,
    "IPC": 0x08000000,
    "host name": 0x04000000,
    "mount": 0x00020000,
}
_RECURSIVE, _PRIVATE = 0x4000, 0x40000
_NO_SETUID, _NO_DEVICES, _NO_EXEC = 2, 4, 8
_SET_MOUNT_ATTRIBUTES, _HERE, _ALL_BENEATH, _READ_ONLY = 442, -100, 0x8000, 1
_CAPABILITIES = 0x20080522
_NO_NEW_PRIVILEGES = 38


def main() -> None:
    """Reads a job from standard input, runs it confined, and reports how it ended."""
    job = json.load(sys.stdin.buffer)
    report = job["report"]
    try:
        die_with_parent()
        if os.getppid() != job["parent"]:
            os._exit(1)
        if job["confined"]:
            _leave()
        alive, held = os.pipe()
        gate, opener = os.pipe()
        child = os.fork()
        if child:
            os.close(gate)
            passed = _watch(child, gate, opener)
            _, status, usage = os.wait4(child, 0)
            _tell(report, "seconds", usage.ru_utime + usage.ru_stime)
            _tell(report, "status", os.waitstatus_to_exitcode(status))
            _tell(report, "passed", passed)
            os._exit(0)
        os.close(held)
        os.close(opener)
        (_confine if job["confined"] else _limit_only)(job, alive, gate)
        os.close(report)
    except Lacking as lacking:  # here or in the child
        _refuse(report, str(lacking))
    except (OSError, ValueError) as error:
        _refuse(report, f"a part of the jail: {error}")
    # Not above: what handles errors there is in reach of the program.
    _run(job["code"], gate)


def _refuse(report: int, lacking: str) -> NoReturn:
    _tell(report, "lacking", lacking)
    os._exit(0)


def _tell(report: int, key: str, value: float | str) -> None:
    os.write(report, json.dumps({key: value}).encode() + b"\n")


def _leave() -> None:
    """Leaves for new namespaces, of which the user's maps this user to itself and no other."""
    user, group = os.getuid(), os.getgid()
    for name, flag in _NAMESPACES.items():
        call(f"{name} namespaces", "unshare", flag)
        if name == "user":
            _write("setgroups", "deny")
            _write("uid_map", f"{user} {user} 1")
            _write("gid_map", f"{group} {group} 1")


def _write(file: str, text: str) -> None:
    try:
        with open(f"/proc/self/{file}", "w") as opened:
            opened.write(text)
    except OSError as error:
        raise Lacking(f"user namespaces ({file}: {error.strerror})") from None


def _watch(child: int, gate: int, opener: int) -> bool:
    """Returns whether the program of a child comes to its end, where the child waits and is killed.

    gate: the pipe for which the child waits before the program. opener: its other end, which is closed here.
    """
    begun, denied = "", 0
    # The child is not reaped, so that its number stays its own.
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        try:
            number, descriptors, stack = _stands(child)
        except PermissionError as error:  # the kernel also refuses a look at a process that is about to end
            denied += 1
            if denied * _LOOKING > _ENDING:
                raise Lacking(f"/proc/PID/syscall ({error.strerror})") from None
            number = descriptors = stack = ""
        if number in _SELECT and descriptors == hex(gate + 1) and not begun:
            begun = stack
            os.close(opener)
        elif number in _SELECT and descriptors == hex(0) and stack == begun:
            os.kill(child, signal.SIGKILL)
            return True
        time.sleep(_LOOKING)
    return False


def _stands(child: int) -> tuple[str, str, str]:
    """Returns the system call in which a child waits, its first argument and the stack's address; else empty texts."""
    try:
        with open(f"/proc/{child}/syscall") as file:
            found = file.read().split()
    except ProcessLookupError:  # it has ended
        return "", "", ""
    except FileNotFoundError:
        raise Lacking("/proc/PID/syscall") from None
    return (found[0], found[1], found[-2]) if len(found) == 9 else ("", "", "")


def _confine(job: dict[str, Any], alive: int, gate: int) -> None:
    """Gives up all that the program does not need, for good.

    alive: a pipe whose other end the parent holds. gate: a descriptor that stays, beside that of the report.
    """
    _mount(job["folder"])
    _enter(job["folder"])
    # Version 3 of the header, this process, and no capability of any kind.
    call("dropping capabilities", "capset", _buffer("=Ii", _CAPABILITIES, 0), _buffer("=6I", *(0,) * 6))
    call("NO_NEW_PRIVS", "prctl", _NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    _end_with_parent(alive)
    _limit(job["seconds"], job["memory"])
    landlock.restrict(_readable(), job["folder"])
    kept = sorted((job["report"], gate))
    for first, end in zip((3, kept[0] + 1, kept[1] + 1), (*kept, 1024), strict=True):
        os.closerange(first, end)
    seccomp.restrict()


def _limit_only(job: dict[str, Any], alive: int, gate: int) -> None:
    """Limits time, memory and files of a program that is not confined."""
    _enter(job["folder"])
    _end_with_parent(alive)
    _limit(job["seconds"], job["memory"])


def _enter(folder: str) -> None:
    os.chdir(folder)
    nothing = os.open("/dev/null", os.O_RDONLY)
    os.dup2(nothing, 0)


def _end_with_parent(alive: int) -> None:
    die_with_parent()
    if select.select([alive], [], [], 0)[0]:  # the parent had ended before
        os._exit(1)


def _mount(folder: str) -> None:
    """Makes everything that is mounted read-only in this namespace, and puts a file system in memory at a folder."""
    call("private mounts", "mount", None, b"/", None, _RECURSIVE | _PRIVATE, None)
    attributes = _buffer("=4Q", _READ_ONLY, 0, 0, 0)
    call("read-only mounts", "syscall", _SET_MOUNT_ATTRIBUTES, _HERE, b"/", _ALL_BENEATH, attributes, 32)
    flags = _NO_SETUID | _NO_DEVICES | _NO_EXEC
    options = f"size={FILES},nr_inodes=1024,mode=700".encode()
    call("tmpfs in a user namespace", "mount", b"tmpfs", folder.encode(), b"tmpfs", flags, options)


def _limit(seconds: int, memory: int) -> None:
    limits = {
        resource.RLIMIT_CPU: (seconds, seconds + 1),
        resource.RLIMIT_AS: (memory, memory),
        resource.RLIMIT_FSIZE: (FILES, FILES),
        resource.RLIMIT_NOFILE: (_DESCRIPTORS, _DESCRIPTORS),
        resource.RLIMIT_CORE: (0, 0),
    }
    for limit, (soft, hard) in limits.items():
        most = resource.getrlimit(limit)[1]
        most = hard if most == resource.RLIM_INFINITY else min(hard, most)
        resource.setrlimit(limit, (min(soft, most), most))


def _readable() -> tuple[str, ...]:
    """Returns where the interpreter's modules and the libraries that they load are."""
    libraries = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/usr/share/zoneinfo")
    return os.path.dirname(os.__file__), os.path.join(sys.base_prefix, "lib"), *libraries


def _buffer(form: str, *values: int) -> "ctypes.Array[ctypes.c_char]":
    return ctypes.create_string_buffer(struct.pack(form, *values))


def _run(code: str, gate: int) -> None:
    """Runs a program between two waits of one loop: until the gate opens, and without end."""
    ready = [gate]
    # Both waits are the same call of the same functions of C, so that the stack is as deep in both.
    for _ in iter(partial(select.select, ready, (), ()), None):
        os.close(gate)
        ready.clear()
        # A function of C stands between this frame and the program: what the program puts in place runs beneath it.
        [ended] = map(_ends, (code,))
        while not ended:
            pass


def _ends(code: str) -> bool:
    """Runs a program as the main module, and returns whether it has ended without an error; else the process ends."""
    show = sys.__excepthook__
    leave: Callable[[int], object] = os._exit
    sys.path.pop()  # where this package is
    sys.modules["__main__"] = module = ModuleType("__main__")
    try:
        exec(compile(code, "<program>", "exec"), module.__dict__)
        sys.stdout.flush()
    except BaseException as error:
        try:
            show(type(error), error, error.__traceback__)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            leave(1)
        return False  # where a program has put something in place of leaving
    return True
