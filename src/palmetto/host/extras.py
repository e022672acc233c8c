"""The shell command that installs an extra for the running program.

Palmetto is on no package index, so pip cannot install it by its name. A checkout has a make target and a lock for each
extra; a wheel is installed again with the extra.
"""

import importlib.util
import json
import shlex
import sys
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from palmetto.errors import UserError

TARGETS = {
    "corpus": "corpus",
    "ray": "ray",
    "serve": "serve",
    "eval": "eval",
    "interop": "interop",
    "metrics": "metrics",
    "cuda": "cuda",
    "tpu": "tpu",
    "plan": "tpu",
}
"""The make target of each extra. The target for TPUs also installs their compiler."""
_WITH = {"ray": "corpus,ray"}
"""Extras that need another one: the workers of a Ray cluster use the libraries of `corpus`."""

MODULES = {
    "corpus": ("fastwarc", "fsspec", "mwparserfromhell", "py3langid", "rapidfuzz", "rensa", "resiliparse", "sklearn"),
    "serve": ("httptools", "llguidance", "prometheus_client", "starlette", "uvicorn"),
}
"""The modules that extras install, as far as they are looked for before a command begins."""


def missing(module: str, extra: str) -> UserError:
    """Returns the error for a module that an extra would install."""
    return UserError(f"{module}: needs the extra `{extra}`: {installation(extra)}")


def installation(extra: str) -> str:
    """Returns the shell command that installs an extra for the running Python."""
    source = Path(__file__).resolve().parents[3]
    if (source / "Makefile").is_file() and (source / "requirements").is_dir():
        if Path(sys.prefix).resolve() == source / ".venv":
            there = "" if source == Path.cwd() else f" -C {shlex.quote(str(source))}"
            return f"make{there} {TARGETS[extra]}"
        return _pip(f"{source}[{_with_others(extra)}]", "--editable ")
    return _pip(_requirement(extra))


def _pip(requirement: str, how: str = "") -> str:
    python = shlex.quote(sys.executable)
    pip = f"{python} -m pip install" if importlib.util.find_spec("pip") else f"uv pip install --python {python}"
    return f"{pip} {how}{shlex.quote(requirement)}"


def _requirement(extra: str) -> str:
    """Returns pip's requirement for the running palmetto and an extra: the origin that pip recorded (PEP 610), or the
    name of the wheel if no origin is recorded or the file no longer exists."""
    distribution = metadata.distribution("palmetto")
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    address = urlsplit(origin.get("url", ""))
    wanted = f"[{_with_others(extra)}]"
    if address.scheme == "file":
        path = Path(url2pathname(address.path))
        return f"{path if path.exists() else path.name}{wanted}"
    if address.scheme:
        version = origin.get("vcs_info")
        exactly = f"{version['vcs']}+{origin['url']}@{version['commit_id']}" if version else origin["url"]
        return f"palmetto{wanted} @ {exactly}"
    return f"palmetto-{distribution.version}-py3-none-any.whl{wanted}"


def _with_others(extra: str) -> str:
    return _WITH.get(extra, extra)
