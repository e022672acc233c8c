"""The files of a source, in a fixed order."""

from dataclasses import dataclass
from pathlib import Path

from palmetto.errors import UserError
from palmetto.recipe.corpus import Source


@dataclass(frozen=True)
class File:
    """A file that is to be read: where it is, its name within its source, its bytes, and when it was last changed."""

    path: str
    name: str
    source: str
    size: int
    changed: int


def find(source: Source, root: str | None, source_name: str) -> list[File]:
    """All files of a source, by name; UserError where a path is missing."""
    files = {}
    for given in source.paths:
        base = Path(root or ".") / given
        if not base.exists():
            raise UserError(f"corpus.build.sources.{source_name}.paths: {base}: no such file or folder")
        for path in sorted(base.rglob("*")) if base.is_dir() else [base]:
            if path.is_file():
                name = f"{given}/{path.relative_to(base).as_posix()}" if base.is_dir() else given
                status = path.stat()
                files[name] = File(str(path.absolute()), name, source_name, status.st_size, status.st_mtime_ns)
    return [files[name] for name in sorted(files)]
