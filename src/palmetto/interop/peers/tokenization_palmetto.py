"""Palmetto's vocabulary for transformers' AutoTokenizer, by sentencepiece: what tokenizer.json cannot do exactly.

The file stands beside the weights of an export and needs nothing else of Palmetto. Text is cut into runs, of which
sentencepiece encodes each; the characters that it would change become the bytes of their UTF-8.
"""

import re
import shutil
from pathlib import Path
from typing import Any

import sentencepiece
from transformers import PreTrainedTokenizer

UNSAFE = "\u2581\u2585\x00"
RUN = re.compile(f"([^{UNSAFE}]{{1,4000}}[^\n{UNSAFE}]{{0,60000}}\n*)|([{UNSAFE}])")
FILE = "palmetto/vocabulary.model"


class PalmettoTokenizer(PreTrainedTokenizer):  # type: ignore[misc]
    """Gives the ids of a sentencepiece model, with [eod] in front."""

    vocab_files_names = {"vocab_file": FILE}  # noqa: RUF012
    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012

    def __init__(self, vocab_file: str, **others: Any) -> None:
        self.vocab_file = vocab_file
        self.processor = sentencepiece.SentencePieceProcessor(model_file=vocab_file)
        super().__init__(**others)

    @property
    def vocab_size(self) -> int:
        return int(self.processor.get_piece_size())

    def get_vocab(self) -> dict[str, int]:
        return {self.processor.id_to_piece(id): id for id in range(self.vocab_size)}

    def _tokenize(self, text: str, **_: Any) -> list[str]:
        tokens: list[str] = []
        for run, character in RUN.findall(text):
            tokens += self.processor.encode(run, out_type=str) if run else [f"<0x{b:02X}>" for b in character.encode()]
        return tokens

    def _convert_token_to_id(self, token: str) -> int:
        return int(self.processor.piece_to_id(token))

    def _convert_id_to_token(self, index: int) -> str:
        return str(self.processor.id_to_piece(index))

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Returns the text of tokens; bytes that are not UTF-8 become U+FFFD."""
        ids = [self._convert_token_to_id(token) for token in tokens]
        parts = [
            bytes([int(token[3:5], 16)]) if self.processor.is_byte(id) else token.replace("\u2581", " ").encode()
            for token, id in zip(tokens, ids, strict=True)
        ]
        return b"".join(parts).decode(errors="replace")

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        return [self.bos_token_id, *token_ids_0, *(token_ids_1 or [])]

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str]:
        target = Path(save_directory) / FILE
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.absolute() != Path(self.vocab_file).absolute():
            shutil.copyfile(self.vocab_file, target)
        return (str(target),)
