"""Builds the library of kernels with the C++ compiler at hand, once for each version of what it is made from.

This module must not import JAX.
"""

import contextlib
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

KERNELS = Path(__file__).parent / "kernels"

_COMPILERS = ("g++", "clang++", "c++")
_OPTIONS = ("-std=c++17", "-O3", "-fPIC", "-ffp-contract=off", "-w")
_OWN_OPTIONS = re.compile(r"^// compile with: (.*)$", re.MULTILINE)
"""The options of one file, for the instruction set of its kernels."""


class NotBuilt(Exception):
    """Says in one line why there is no library."""


def build() -> Path:
    """Returns the library's file, which is compiled unless a folder of the user's holds it. Raises NotBuilt.

    Processes that build at the same time each write a file of their own and then give it the name.
    """
    compiler = find_compiler()
    files = _files(compiler)
    for file in files:
        with contextlib.suppress(OSError):
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if file.parent.lstat().st_uid != os.getuid():
                continue  # made by somebody else, where all may write
            if not file.exists():
                with tempfile.TemporaryDirectory(dir=file.parent) as scratch:
                    os.replace(_compile(compiler, Path(scratch)), file)
            return file
    raise NotBuilt(f"cannot write to {' or '.join(str(file.parent) for file in files)}")


def is_missing() -> bool:
    """Returns whether `build` would compile."""
    try:
        return not any(file.exists() for file in _files(find_compiler()))
    except NotBuilt:
        return False


def _files(compiler: Sequence[str]) -> list[Path]:
    """Returns the files that may hold the library: one in the user's cache, and one for those who have none."""
    name = f"kernels-{_digest(compiler)}.so"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return [cache / "palmetto" / "native" / name, Path(tempfile.gettempdir()) / f"palmetto-{os.getuid()}" / name]


def find_compiler() -> list[str]:
    """Returns the command of a compiler: CXX, or the first one that is installed."""
    given = os.environ.get("CXX", "").split()
    for command in [given] if given else [[name] for name in _COMPILERS]:
        if shutil.which(command[0]):
            return command
    raise NotBuilt(f"CXX={given[0]}: no such compiler" if given else f"no compiler ({', '.join(_COMPILERS)})")


def _digest(compiler: Sequence[str]) -> str:
    """Returns a digest of all that the library is made from."""
    digest = hashlib.sha256()
    version = subprocess.run([*compiler, "--version"], capture_output=True, text=True, check=False).stdout
    for text in (*compiler, version, *_OPTIONS, metadata.version("jaxlib")):
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
        _run([*compiler, *_OPTIONS, *own, "-isystem", str(include), "-c", str(source), "-o", str(made)])
        return made

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(one, sorted(KERNELS.glob("*.cc"))))
    _run([*compiler, "-shared", "-o", str(folder / "library.so"), *map(str, objects)])
    return folder / "library.so"


def _run(command: Sequence[str]) -> None:
    made = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    if made.returncode:
        said = [line for line in made.stderr.splitlines() if "error" in line] or [f"exit code {made.returncode}"]
        raise NotBuilt(f"{command[0]} cannot compile the kernels: {said[0].strip()}")
