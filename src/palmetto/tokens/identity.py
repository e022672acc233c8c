"""The digest by which a stage knows a token store that it has made."""

import dataclasses
import hashlib
import json
from pathlib import Path

from palmetto.files import sha256
from palmetto.tokens.store import StoreDamaged, TokenStore

DAMAGED = "damaged"
"""In place of the digest of what is no whole store."""


def store_digest(path: Path) -> str:
    """The SHA-256 of a store's header, which holds the digests of its tokens; hardly any of the file is read.

    The header of version 1 holds fewer: such a store is known by the SHA-256 of its file. UserError where it cannot be
    read, which does not mean that it is damaged.
    """
    try:
        header = TokenStore.open(path).header
    except StoreDamaged:
        return DAMAGED
    text = json.dumps(dataclasses.asdict(header), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest() if header.root else sha256(path)


def checked_digest(path: Path) -> str:
    """Returns `store_digest` where every token is as it was written, and DAMAGED otherwise."""
    try:
        TokenStore.open(path).check()
    except StoreDamaged:
        return DAMAGED
    return store_digest(path)
