"""Builds the library of kernels with the C++ compiler at hand, once for each version of what it is made from.

This module must not import JAX.
"""

import contextlib
import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

from palmetto.files import temporary_folder

KERNELS = Path(__file__).parent / "kernels"

_COMPILERS = ("g++", "clang++", "c++")
_OPTIONS = ("-std=c++17", "-O3", "-fPIC", "-ffp-contract=off", "-w")
_OWN_OPTIONS = re.compile(r"^// compile with: (.*)$", re.MULTILINE)
"""The options of one file, for the instruction set of its kernels."""


_PATIENCE = 600.0
"""Seconds after which a compiler counts as hanging."""


class NotBuilt(Exception):
    """Says in one line why there is no library."""


def build() -> Path:
    """Returns the library's file, which is compiled unless a folder of the user's holds it. Raises NotBuilt.

    Processes that build at the same time each write a file of their own and then give it the name.
    """
    compiler = find_compiler()
    files = _files(compiler)
    for file in files:
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            made_by = file.parent.lstat()
            if made_by.st_uid != os.getuid() or made_by.st_mode & 0o022:
                continue  # others may write there
            if file.exists():
                return file
            with temporary_folder(inside=file.parent) as scratch:
                os.replace(_compile(compiler, scratch), file)
                return file
        except OSError:
            continue
    raise NotBuilt(f"cannot write to {' or '.join(str(file.parent) for file in files)}")


def is_missing() -> bool:
    """Returns whether `build` would compile."""
    try:
        return not any(file.exists() for file in _files(find_compiler()))
    except NotBuilt:
        return False


def _files(compiler: Sequence[str]) -> list[Path]:
    """Returns the files that may hold the library: one in the user's cache, and one for those who have none."""
    folders = [Path(tempfile.gettempdir()) / f"palmetto-{os.getuid()}"]
    with contextlib.suppress(RuntimeError):  # no home is known
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        folders.insert(0, cache / "palmetto" / "native")
    name = f"kernels-{_digest(compiler)}.so"
    return [folder / name for folder in folders]


def find_compiler() -> list[str]:
    """Returns the command of a compiler: CXX, or the first one that is installed."""
    given = shlex.split(os.environ.get("CXX", ""))
    for command in [given] if given else [[name] for name in _COMPILERS]:
        if shutil.which(command[0]):
            return command
    raise NotBuilt(f"CXX={given[0]}: no such compiler" if given else f"no compiler ({', '.join(_COMPILERS)})")


def _digest(compiler: Sequence[str]) -> str:
    """Returns a digest of all that the library is made from."""
    digest = hashlib.sha256()
    for text in (*compiler, _run([*compiler, "--version"]).stdout, *_OPTIONS, metadata.version("jaxlib")):
        digest.update(f"{text}\0".encode())
    for file in sorted(KERNELS.iterdir()):
        digest.update(f"{file.name}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()[:20]


def _compile(compiler: Sequence[str], folder: Path) -> Path:
    """Compiles each source by itself, some at a time, and returns the library that they are linked to."""
    found = importlib.util.find_spec("jaxlib")
    assert found is not None
    assert found.origin is not None
    include = Path(found.origin).parent / "include"

    def one(source: Path) -> Path:
        own = " ".join(_OWN_OPTIONS.findall(source.read_text())).split()
        made = folder / f"{source.stem}.o"
        _compiled([*compiler, *_OPTIONS, *own, "-isystem", str(include), "-c", str(source), "-o", str(made)])
        return made

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        objects = list(pool.map(one, sorted(KERNELS.glob("*.cc"))))
    _compiled([*compiler, "-shared", "-o", str(folder / "library.so"), *map(str, objects)])
    return folder / "library.so"


def _compiled(command: Sequence[str]) -> None:
    made = _run(command)
    if made.returncode:
        said = [line for line in made.stderr.splitlines() if "error" in line] or [f"exit code {made.returncode}"]
        raise NotBuilt(f"{command[0]} cannot compile the kernels (g++ 11 or clang 12 can): {said[0].strip()}")


def _run(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_PATIENCE,
            env=os.environ | {"LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotBuilt(f"{command[0]} does not run: {error}") from None
