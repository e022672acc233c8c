"""Addresses of fsspec (s3://, gs://, memory://) for what is exported and imported, through a folder of this machine."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from palmetto.corpus.extras import need
from palmetto.errors import UserError
from palmetto.files import temporary_folder
from palmetto.interop import folder


def is_address(text: str) -> bool:
    """Returns whether a text is an address and no path."""
    return "://" in text


@contextlib.contextmanager
def target(out: str) -> Iterator[Path]:
    """Gives the folder to export to; that of an address is temporary, and copied there on a clean exit.

    The mark comes last, so that what has one is whole; a failure removes what has been copied. Raises UserError if
    something is at the address already, or it cannot be written.
    """
    if not is_address(out):
        yield Path(out)
        return
    with _reported(out):
        system, root = need("fsspec.core", "interop").url_to_fs(out)
        taken = bool(system.exists(root) and system.find(root))
    if taken:
        raise UserError(f"--out {out}: holds files; expected an address where nothing is")
    with temporary_folder("palmetto-export-") as there:
        made = there / "export"
        yield made
        written = []
        with _reported(out):
            try:
                for name in sorted(folder.names(made), key=lambda name: name == folder.MARK):
                    path = f"{root.rstrip('/')}/{name}"
                    system.makedirs(path.rpartition("/")[0], exist_ok=True)
                    written.append(path)
                    system.put_file(str(made / name), path)
            except BaseException:
                for path in written:
                    with contextlib.suppress(Exception):
                        system.rm_file(path)
                raise


@contextlib.contextmanager
def source(given: str) -> Iterator[Path]:
    """Gives the folder to import; that of an address is a copy, which is removed.

    Raises UserError if there is nothing at the address, or it cannot be read.
    """
    if not is_address(given):
        yield Path(given)
        return
    with temporary_folder("palmetto-import-") as there:
        copied = there / given.rstrip("/").rpartition("/")[2]
        with _reported(given):
            system, root = need("fsspec.core", "interop").url_to_fs(given)
            names = system.find(root)
            for path in names:
                to = copied / path.removeprefix(root).lstrip("/")
                to.parent.mkdir(parents=True, exist_ok=True)
                system.get_file(path, str(to))
        if not names:
            raise UserError(f"{given}: nothing is there; expected a folder with weights and config.json")
        yield copied


@contextlib.contextmanager
def _reported(address: str) -> Iterator[Any]:
    """Turns what a file system raises into a UserError that names the address."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # each file system has its own
        raise UserError(f"{address}: {type(error).__name__}: {error}") from None
