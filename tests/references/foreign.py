"""Tokenizers as other programs have them, trained by the library tokenizers on the text of tests/references."""

import json
from typing import Any

from palmetto.tokens.wrapped import wrap
from tests.references.vocabularies import TEXT

BEGINNING, END, TURN, CALL = "<s>", "</s>", "<|turn|>", "<|call|>"


def library(contents: dict[str, Any]) -> Any:
    """Returns the library's own tokenizer, which takes names of special tokens in a text for text."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(json.dumps(contents))
    tokenizer.encode_special_tokens = True
    return tokenizer


def wrapped(contents: dict[str, Any], end: str = END) -> bytes:
    """Returns the file of a vocabulary, with ten ids that have no token."""
    return wrap(contents, beginning=0, end=int(end == END), size=len(contents["model"]["vocab"]) + 10)


def byte_level() -> dict[str, Any]:
    """Returns a tokenizer.json of GPT-2's kind."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return _trained(tokenizer, trainers.BpeTrainer(**_trainer(350), initial_alphabet=alphabet))


def byte_fallback() -> dict[str, Any]:
    """Returns a tokenizer.json of Llama 2's kind."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BEGINNING} $A", special_tokens=[(BEGINNING, 0)])
    single = [f"<0x{byte:02X}>" for byte in range(256)]
    settings = _trainer(600)
    settings["special_tokens"] += single
    contents = _trained(tokenizer, trainers.BpeTrainer(**settings))
    contents["added_tokens"] = [each for each in contents["added_tokens"] if each["content"] not in single]
    return contents


def ending(contents: dict[str, Any]) -> dict[str, Any]:
    """Returns a tokenizer.json of Llama 2's kind that also puts the end behind a text."""
    after = contents["post_processor"]
    after["single"].append({"SpecialToken": {"id": END, "type_id": 0}})
    after["special_tokens"][END] = {"id": END, "ids": [1], "tokens": [END]}
    return contents


def turning(contents: dict[str, Any]) -> dict[str, Any]:
    """Returns a tokenizer.json with two more added tokens, as chat models end turns with; the second is not special."""
    size = len(contents["model"]["vocab"])
    usual = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    turn = {"id": size, "content": TURN, "special": True, **usual}
    call = {"id": size + 1, "content": CALL, "special": False, **usual}
    return contents | {"added_tokens": [*contents["added_tokens"], turn, call]}


def unigram() -> dict[str, Any]:
    """Returns a tokenizer.json of T5's kind, whose special tokens and bytes are pieces like any other."""
    single = [(f"<0x{byte:02X}>", 0.0) for byte in range(256)]
    pieces = [(BEGINNING, 0.0), (END, 0.0), ("<unk>", 0.0), *single, *((letter, -5.0) for letter in "▁abcdest</>")]
    return {
        "version": "1.0",
        "added_tokens": [],
        "model": {"type": "Unigram", "unk_id": 2, "byte_fallback": True, "vocab": pieces},
        "decoder": {"type": "ByteFallback"},
    }


def _trainer(size: int) -> dict[str, Any]:
    return {"vocab_size": size, "special_tokens": [BEGINNING, END], "show_progress": False}


def _trained(tokenizer: Any, trainer: Any) -> dict[str, Any]:
    tokenizer.train_from_iterator([TEXT], trainer)
    contents: dict[str, Any] = json.loads(tokenizer.to_str())
    return contents
