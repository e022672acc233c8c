"""The advice on extras works in a checkout, in another environment and from a wheel."""

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from palmetto.host import extras

CHECKOUT = Path(__file__).resolve().parents[2]
EXTRAS = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"].keys() - {"dev"}


class Installed:
    """A distribution with the record that pip writes."""

    version = "0.1.0"

    def __init__(self, origin: dict[str, object] | None) -> None:
        self.origin = origin

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return None if self.origin is None else json.dumps(self.origin)


def locks(target: str, *variables: str) -> list[str]:
    """The locks that make installs for a target."""
    command = ["make", "--dry-run", "--always-make", *variables, target]
    rules = subprocess.check_output(command, cwd=CHECKOUT, text=True)
    return re.findall(r"--require-hashes -r (\S+)", rules)


@pytest.mark.parametrize(("version", "folder"), [("3, 11", "py311"), ("3, 12", "py312"), ("3, 14", "py312")])
def test_the_lock_is_that_of_the_python_at_hand(tmp_path: Path, version: str, folder: str) -> None:
    python = tmp_path / "python"
    here = shlex.quote(sys.executable)
    python.write_text(f'#!/bin/sh\n{here} -c "import sys; sys.version_info = ({version}); $2"\n')
    python.chmod(0o755)
    expected = [f"requirements/{folder}/{name}.txt" for name in ("core", "serve")]
    assert locks("quickstart", f"PYTHON={python}", f"VENV={tmp_path}") == expected


def test_the_newest_jax_without_its_python_is_refused() -> None:
    command = ["make", "--silent", "NEWEST=", "test-newest"]
    refused = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert refused.stdout == (
        "the newest JAX needs Python 3.12 or newer, and none was found: make NEWEST=/path/to/python3 test-newest\n"
    )


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_every_extra_has_a_target_with_a_hashed_lock(extra: str) -> None:
    lock = locks(extras.TARGETS[extra])[-1]
    lines = (CHECKOUT / lock).read_text().splitlines()
    packages = [number for number, line in enumerate(lines) if "==" in line and not line.lstrip().startswith("#")]
    assert packages
    assert all("--hash=sha256:" in lines[number + 1] for number in packages)
    assert not any(line.startswith("-") or "://" in line for line in lines)


def test_no_text_advises_a_package_index() -> None:
    files = [CHECKOUT / "README.md", *(CHECKOUT / "docs").glob("*.md"), *(CHECKOUT / "src").rglob("*.py")]
    assert [str(file) for file in files if re.search(r"install '?palmetto\[", file.read_text())] == []


def test_a_checkout_advises_a_make_target(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "prefix", str(CHECKOUT / ".venv"))
    monkeypatch.chdir(CHECKOUT)
    assert extras.installation("corpus") == "make corpus"
    assert extras.installation("plan") == "make tpu"
    monkeypatch.chdir(tmp_path)
    assert extras.installation("corpus") == f"make -C {CHECKOUT} corpus"


def test_another_environment_installs_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", "/elsewhere")
    monkeypatch.setattr(sys, "executable", "/elsewhere/my python")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    expected = f"'/elsewhere/my python' -m pip install --editable '{CHECKOUT}[corpus,ray]'"
    assert extras.installation("ray") == expected


def test_without_pip_the_advice_is_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", "/elsewhere")
    monkeypatch.setattr(sys, "executable", "/elsewhere/python")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    expected = f"uv pip install --python /elsewhere/python --editable '{CHECKOUT}[cuda]'"
    assert extras.installation("cuda") == expected


@pytest.mark.parametrize(
    ("origin", "requirement"),
    [
        ({"url": "file://{here}/a%20b.whl", "archive_info": {}}, "{here}/a b.whl[corpus]"),
        ({"url": "file:///gone/palmetto-0.1.0-py3-none-any.whl"}, "palmetto-0.1.0-py3-none-any.whl[corpus]"),
        ({"url": "https://example.org/p.whl"}, "palmetto[corpus] @ https://example.org/p.whl"),
        (
            {"url": "https://example.org/p", "vcs_info": {"vcs": "git", "commit_id": "1f2e"}},
            "palmetto[corpus] @ git+https://example.org/p@1f2e",
        ),
        (None, "palmetto-0.1.0-py3-none-any.whl[corpus]"),
    ],
)
def test_the_advice_names_the_origin_that_pip_recorded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, origin: dict[str, object] | None, requirement: str
) -> None:
    (tmp_path / "a b.whl").touch()
    if origin is not None:
        origin = {**origin, "url": str(origin["url"]).replace("{here}", str(tmp_path))}
    monkeypatch.setattr(extras, "__file__", str(tmp_path / "lib" / "site-packages" / "palmetto" / "host" / "extras.py"))
    monkeypatch.setattr(metadata, "distribution", lambda name: Installed(origin))
    assert extras.installation("corpus").endswith(f" '{requirement.replace('{here}', str(tmp_path))}'")


def build_the_example(python: Path, out: Path) -> "subprocess.CompletedProcess[str]":
    command = [str(python), "-m", "palmetto", "corpus", "build", "examples/mix.yaml", "--out", str(out)]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)


def follow_the_advice(python: Path, where: Path, out: Path) -> None:
    """Builds a corpus, which fails, runs the advised command, and builds the corpus again."""
    refused = build_the_example(python, out)
    assert refused.returncode == 2, refused.stderr
    advice = re.findall(r"needs the extra `corpus`: (.*)", refused.stderr)
    assert advice, refused.stderr
    subprocess.run(advice[-1], shell=True, cwd=where, check=True)
    built = build_the_example(python, out)
    assert built.returncode == 0, built.stderr
    assert (out / "manifest.json").exists()


@pytest.fixture
def installing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets pip compile nothing, since few of the modules are imported."""
    monkeypatch.setenv("PIP_COMPILE", "0")


@pytest.mark.slow
@pytest.mark.usefixtures("installing")
def test_a_checkout_builds_a_corpus_after_its_advice(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    for name in ("src", "requirements"):
        shutil.copytree(CHECKOUT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, checkout / name)
    subprocess.run(["make", f"PYTHON={sys.executable}", ".venv/core"], cwd=checkout, check=True)
    follow_the_advice(checkout / ".venv" / "bin" / "python", tmp_path, tmp_path / "corpus")


@pytest.mark.slow
@pytest.mark.usefixtures("installing")
def test_a_wheel_builds_a_corpus_after_its_advice(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip = [str(python), "-m", "pip", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(tmp_path / "dist"), str(CHECKOUT)], check=True)
    [wheel] = (tmp_path / "dist").iterdir()
    subprocess.run([*pip, "install", str(wheel)], check=True)
    follow_the_advice(python, tmp_path, tmp_path / "corpus")
