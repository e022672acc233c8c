"""Constrains what a choice may generate to a JSON schema or a regular expression, with llguidance."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from palmetto.corpus.extras import need
from palmetto.decoding.request import Constraint, Finish
from palmetto.decoding.text import Pieces
from palmetto.errors import UserError
from palmetto.tokens.vocabulary import Vocabulary

_NO_TEXT = "NoExtensionBias"
"""The error by which llguidance names a grammar that allows no first token."""

_NOTHING_FITS = ("NotStopped", "NoExtension", _NO_TEXT)
"""The states of llguidance in which no token is allowed although it has not given up."""


class Grammars:
    """Makes constraints for one vocabulary."""

    def __init__(self, vocabulary: Vocabulary, pieces: Pieces) -> None:
        """Raises UserError if llguidance, which the extra `serve` installs, is missing."""
        self._guidance = need("llguidance", "serve")
        wrapper = self._guidance.TokenizerWrapper(_Tokenizer(vocabulary, pieces))
        self._tokenizer = self._guidance.LLTokenizer(wrapper)
        self._size, self._ends = vocabulary.size, vocabulary.ends

    def json_schema(self, schema: dict[str, Any] | bool) -> Callable[[], Constraint]:
        """Returns what makes constraints to a JSON schema; raises UserError if llguidance does not support it.

        White space is that of Python's json.dumps; with any allowed, a weak model would go on with it for ever.
        """
        if isinstance(schema, bool):
            schema = {} if schema else {"enum": []}  # true is any value, false is none
        options = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
        compile = partial(self._guidance.LLMatcher.grammar_from_json_schema, overrides=options)
        return self._constraint(compile, json.dumps(schema))

    def regex(self, pattern: str) -> Callable[[], Constraint]:
        """Returns what makes constraints to a regular expression of Rust's; raises UserError if it is not one."""
        return self._constraint(self._guidance.LLMatcher.grammar_from_regex, pattern)

    def _constraint(self, compile: Callable[[str], str], source: str) -> Callable[[], Constraint]:
        try:
            matcher = self._guidance.LLMatcher(self._tokenizer, compile(source), log_level=0)
            first = matcher.compute_bitmask()  # which finds what no text can match
            problem = matcher.get_error()
        except ValueError as error:
            problem = str(error)
        except (Exception, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as panic:  # of llguidance, which is no Exception
            problem = f"llguidance fails on it ({panic})"
        if problem:
            reason = problem.splitlines()[0]
            raise UserError("no text can match it" if reason == _NO_TEXT else reason)
        return lambda: Matching(matcher.deep_copy(), first, self._size, self._ends)


class Matching:
    """Allows the tokens with which a text can still match a grammar."""

    def __init__(self, matcher: Any, first: bytes, size: int, ends: Sequence[int]) -> None:
        """Takes a matcher of llguidance and its mask of first tokens, which all choices have in common.

        ends: the tokens that end a text. llguidance, which once took only one, knows the first; the others go with it.
        """
        self._matcher, self._mask = matcher, first
        self._size = size
        self._ends = list(ends)

    def allowed(self) -> npt.NDArray[np.bool_] | None:
        """Returns which tokens may come next, [V]; None if no longer text matches, or llguidance gives up."""
        if self._matcher.is_stopped():
            return None
        bits = np.frombuffer(self._mask or self._matcher.compute_bitmask(), np.uint8)
        mask = np.unpackbits(bits, bitorder="little")[: self._size].astype(np.bool_)
        mask[self._ends] = mask[self._ends[0]]
        if mask.sum() == mask[self._ends].sum():
            return None
        return mask

    def accept(self, token: int) -> None:
        """Notes the token that was generated."""
        self._mask = b""
        self._matcher.consume_token(token)

    @property
    def finish(self) -> Finish:
        """Says why the choice ends: the text matches, or no text that begins so does, or llguidance gives up."""
        if not self._matcher.is_error() and self._matcher.is_accepting():
            return Finish.STOP
        gave_up = self._matcher.is_error() or self._matcher.stop_reason() not in _NOTHING_FITS
        return Finish.LENGTH if gave_up else Finish.DEAD_END


class _Tokenizer:
    """Shows a vocabulary in the form that llguidance takes."""

    def __init__(self, vocabulary: Vocabulary, pieces: Pieces) -> None:
        self.eos_token_id, self.bos_token_id = vocabulary.eod, None
        # A token without text would be allowed everywhere; it gets a name, and is marked as special.
        self.tokens = [data or name.encode() for data, name in zip(pieces.data, pieces.names, strict=True)]
        self.special_token_ids = [id for id, data in enumerate(pieces.data) if not data]
        self._vocabulary = vocabulary

    def __call__(self, data: bytes) -> list[int]:
        """Returns the ids of bytes; text that a grammar leaves no choice about is generated with these."""
        ids: list[int] = self._vocabulary.encode_bytes(data).tolist()
        return ids
