"""The command that installs an extra where the program runs from.

No package index has this palmetto, so its name alone installs nothing: a checkout has a make target and a lock for each
extra, and an installation by pip is repeated with the extra.
"""

import importlib.util
import json
import shlex
import sys
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

TARGETS = {"corpus": "corpus", "ray": "ray", "cuda": "cuda", "tpu": "tpu", "plan": "tpu"}
"""The make target of each extra. The TPU's compiler comes with what a TPU needs."""
_TOGETHER = {"ray": "corpus,ray"}
"""Extras that are of no use alone: a cluster reads and judges with the libraries of the corpus."""


def installation(extra: str) -> str:
    """Returns the shell command that installs an extra for the running Python."""
    source = Path(__file__).resolve().parents[3]
    if (source / "Makefile").is_file() and (source / "requirements").is_dir():
        if Path(sys.prefix).resolve() == source / ".venv":
            there = "" if source == Path.cwd() else f" -C {shlex.quote(str(source))}"
            return f"make{there} {TARGETS[extra]}"
        return _pip(f"{source}[{_together(extra)}]", "--editable ")
    return _pip(_requirement(extra))


def _pip(requirement: str, how: str = "") -> str:
    python = shlex.quote(sys.executable)
    pip = f"{python} -m pip install" if importlib.util.find_spec("pip") else f"uv pip install --python {python}"
    return f"{pip} {how}{shlex.quote(requirement)}"


def _requirement(extra: str) -> str:
    """Returns pip's requirement for the origin of the running palmetto (PEP 610) with an extra; where that is not
    recorded or is gone, the name of its wheel."""
    distribution = metadata.distribution("palmetto")
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    address = urlsplit(origin.get("url", ""))
    wanted = f"[{_together(extra)}]"
    if address.scheme == "file":
        path = Path(url2pathname(address.path))
        return f"{path if path.exists() else path.name}{wanted}"
    if address.scheme:
        version = origin.get("vcs_info")
        exactly = f"{version['vcs']}+{origin['url']}@{version['commit_id']}" if version else origin["url"]
        return f"palmetto{wanted} @ {exactly}"
    return f"palmetto-{distribution.version}-py3-none-any.whl{wanted}"


def _together(extra: str) -> str:
    return _TOGETHER.get(extra, extra)
