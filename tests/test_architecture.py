"""Data flows one way: no module imports a later one, and nothing heavy is imported before it is needed."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import palmetto
from palmetto.host.extras import MODULES

SOURCE = Path(palmetto.__file__).parent

# The way of the data, first to last. A module may import its own group and earlier ones.
ORDER = (
    ("errors", "files", "json_lines", "tables"),
    ("sandbox",),
    ("report",),
    ("scaling",),
    ("native",),
    ("host",),
    ("recipe",),
    ("runs",),
    ("corpus",),
    ("tokens",),
    ("model",),
    ("parallel",),
    ("training",),
    ("pods",),
    ("decoding",),
    ("interop",),
    ("evaluation",),
    ("serving",),
    ("planning",),
    ("workflow",),
    ("adapters",),
    ("sweeps",),
    ("ladder",),
    ("drills",),
    ("cli",),
    ("__main__",),
)
RANK = {name: rank for rank, group in enumerate(ORDER) for name in group}


def imports(file: Path) -> set[str]:
    """The palmetto modules that a file imports, anywhere in it, as dotted names without the leading `palmetto.`."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "palmetto":
            base = node.module.removeprefix("palmetto").lstrip(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}".lstrip(".")
                path = SOURCE / inner.replace(".", "/")
                found.add(inner if path.with_suffix(".py").exists() or path.is_dir() else base)
        elif isinstance(node, ast.Import):
            found |= {a.name.removeprefix("palmetto.") for a in node.names if a.name.startswith("palmetto.")}
    return found - {""}


def modules() -> dict[str, Path]:
    files = (file for file in SOURCE.rglob("*.py") if file != SOURCE / "__init__.py")
    return {str(f.relative_to(SOURCE).with_suffix("")).replace("/", ".").removesuffix(".__init__"): f for f in files}


def test_nothing_imports_backwards() -> None:
    for name, file in modules().items():
        for imported in imports(file):
            assert RANK[imported.split(".")[0]] <= RANK[name.split(".")[0]], f"{name} imports {imported}"


def test_no_circles() -> None:
    graph = {name: imports(file) for name, file in modules().items()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " → ".join((*path, name))
        if name not in done:
            for imported in graph.get(name, ()):
                visit(imported, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_help_imports_nothing_heavy() -> None:
    """Keeps `palmetto --help` quick."""
    code = (
        "import sys, palmetto.cli.app; "
        "print([m for m in ('jax', 'numpy', 'pydantic', 'matplotlib', 'orbax', 'pyarrow') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_the_core_needs_no_other_framework() -> None:
    """Only the scripts of interop/peers import one, in environments of their own, and the adapter of each."""
    apart = ("interop.peers.", "adapters.")
    for file in (file for name, file in modules().items() if not name.startswith(apart)):
        lines = [line for line in file.read_text().splitlines() if line.startswith(("import ", "from "))]
        assert not {line.split()[1].split(".")[0] for line in lines} & {"torch", "flax", "ray", "lm_eval"}


def test_only_the_server_needs_its_extra() -> None:
    for name, file in modules().items():
        lines = [line for line in file.read_text().splitlines() if line.startswith(("import ", "from "))]
        needed = {line.split()[1].split(".")[0] for line in lines} & set(MODULES["serve"])
        assert not needed or name.startswith("serving."), f"{name} needs {needed}"


def test_the_map_names_every_room_and_nothing_else() -> None:
    root = SOURCE.parents[1]
    page = (root / "docs" / "architecture.md").read_text()
    paths = set(re.findall(r"`([a-z_]+/(?:[a-z_]+/)*(?:[a-z_]+\.(?:py|yaml))?)`", page))
    assert [path for path in paths if not any((place / path).exists() for place in (SOURCE, root))] == []
    tree = set(re.findall(r"^      ([a-z_]+)/", page, re.MULTILINE))
    rooms = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert tree == rooms


def test_files_that_pages_name_are_there() -> None:
    root = SOURCE.parents[1]
    files = [
        f"/{file.relative_to(root)}"
        for folder in ("src", "tests", "benchmarks")
        for file in (root / folder).rglob("*.py")
    ]
    for page in (root / "README.md", root / "CONTRIBUTING.md", *sorted((root / "docs").glob("*.md"))):
        for path in re.findall(r"`([a-z_0-9]+(?:/[a-z_0-9]+)*\.py)`", page.read_text()):
            assert any(file.endswith(f"/{path}") for file in files), f"{page.name} names {path}"


def test_rooms_are_loaded_by_name_for_kinds_alone() -> None:
    """A recipe loads the files of its kinds, which stand in later rooms: the one way that is not an import.

    Libraries of extras and a scorer that the user names are none of ours.
    """
    named = {
        node.value.value
        for file in modules().values()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        if isinstance(node.targets[0], ast.Name) and node.targets[0].id == "folder"
    }
    assert {name for name in named if name} == {
        "palmetto.model.attentions",
        "palmetto.model.positions",
        "palmetto.training.optimizers",
    }
    loading = [name for name, file in modules().items() if "importlib.import_module(" in file.read_text()]
    assert sorted(loading) == ["corpus.extras", "evaluation.scorer", "recipe.kinds"]


def test_packages_hold_no_code_of_their_own() -> None:
    for file in SOURCE.rglob("__init__.py"):
        kinds = {type(node) for node in ast.parse(file.read_text()).body}
        assert kinds <= {ast.Expr, ast.ImportFrom, ast.Assign}, file


def test_the_formatter_has_no_exceptions() -> None:
    files = [file for folder in ("src", "tests", "benchmarks") for file in (SOURCE.parents[1] / folder).rglob("*.py")]
    assert [file for file in files if "# fmt: " + "skip" in file.read_text()] == []
