"""Computes the digest that identifies a token store."""

import hashlib
import json
from pathlib import Path

from palmetto.files import sha256
from palmetto.tokens.store import StoreDamaged, TokenStore

DAMAGED = "damaged"
"""The digest of a store that is damaged."""


def store_digest(path: Path) -> str:
    """Returns the SHA-256 of a store's header, which holds the digests of its tokens; little of the file is read.

    A store of version 1 has no such digests and is identified by the SHA-256 of its file. Raises UserError if it cannot
    be read, which does not mean that it is damaged.
    """
    try:
        header = TokenStore.open(path).header
    except StoreDamaged:
        return DAMAGED
    text = json.dumps(header.fields, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest() if header.root else sha256(path)


def checked_digest(path: Path) -> str:
    """Returns `store_digest` if every token is as it was written, and DAMAGED otherwise."""
    try:
        TokenStore.open(path).check()
    except StoreDamaged:
        return DAMAGED
    return store_digest(path)
