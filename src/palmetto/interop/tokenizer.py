"""A BPE vocabulary as tokenizer.json, the format of Hugging Face's tokenizers, with equal ids for all text.

Pieces hold real spaces, and nothing is normalized. Merges are all splits of every piece, by score, as in sentencepiece;
bytes, controls, newline and tab are in none. Text is cut into the runs that Palmetto encodes one by one. [eod] is put
in front of a text and never read from it. Pieces that fine-tuning has added are the only added tokens.
"""

from itertools import chain
from typing import Any

from palmetto.recipe import Recipe
from palmetto.tokens.vocabulary import EOD, Piece, Vocabulary
from palmetto.tokens.wrapped import WrappedVocabulary

_UNSAFE = "\u2581\u2585\\x{0}"
_RUN = f"[^{_UNSAFE}]{{1,4000}}[^\\n{_UNSAFE}]{{0,60000}}\\n*|[{_UNSAFE}]"
"""The runs of tokens/vocabulary.py, as Oniguruma writes them."""
CODE = "tokenization_palmetto"
"""The module of peers/ that is copied beside the weights for a unigram vocabulary."""


def tokenizer(vocabulary: Vocabulary) -> dict[str, Any]:
    """Returns the contents of tokenizer.json for a vocabulary that is BPE or wraps such a file."""
    if isinstance(vocabulary, WrappedVocabulary):
        return vocabulary.contents
    pieces = list(vocabulary.pieces())
    names = {_name(piece): piece.id for piece in pieces}
    assert len(names) == len(pieces), "each piece has a name of its own"
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(piece) for piece in pieces if piece.kind == "added"],
        "normalizer": None,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": _RUN}, "behavior": "Isolated", "invert": False},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [_special(0), _text("A")],
            "pair": [_special(0), _text("A"), _text("B")],
            "special_tokens": {EOD: {"id": EOD, "ids": [vocabulary.eod], "tokens": [EOD]}},
        },
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": names,
            "merges": _merges(pieces),
        },
    }


def settings(vocabulary: Vocabulary, recipe: Recipe) -> dict[str, Any]:
    """Returns the contents of tokenizer_config.json.

    A unigram vocabulary gets a class of its own, since tokenizers breaks ties between sums of scores differently.
    """
    ours: dict[str, Any] = {
        "tokenizer_class": "PalmettoTokenizer",
        "auto_map": {"AutoTokenizer": [f"{CODE}.PalmettoTokenizer", None]},
    }
    names = [piece.name for piece in vocabulary.pieces()]
    return {
        **(ours if recipe.tokens.vocabulary == "unigram" else {"tokenizer_class": "PreTrainedTokenizerFast"}),
        "bos_token": names[vocabulary.beginning],
        "eos_token": names[vocabulary.eod],
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": True,
        "model_max_length": recipe.model_length,
        **(
            {} if recipe.tokens.chat_template is None else {"chat_template": chat_template(recipe.tokens.chat_template)}
        ),
    }


_BEGINNING = "{{ bos_token }}{% set bos_token = '' %}"


def chat_template(source: str) -> str:
    """Returns a recipe's template of chats for other programs, which put nothing in front of the text of a chat."""
    return _BEGINNING + source


def of_chats(template: str) -> str:
    """Returns the template of chats for a recipe, from that of another program."""
    return template.removeprefix(_BEGINNING)


def _name(piece: Piece) -> str:
    return piece.data.decode() if piece.kind in ("text", "added") else piece.name


def _merges(pieces: list[Piece]) -> list[list[str]]:
    """Returns every pair of pieces that makes a piece, the best piece first."""
    scores = {piece.data.decode(): piece.score for piece in pieces if piece.kind == "text"}
    whole = sorted((text for text in scores if len(text) > 1), key=lambda text: -scores[text])
    return list(
        chain.from_iterable(
            ([text[:at], text[at:]] for at in range(1, len(text)) if text[:at] in scores and text[at:] in scores)
            for text in whole
        )
    )


def _added(piece: Piece) -> dict[str, Any]:
    """Returns the entry of a piece that is found in a text before anything is merged."""
    never = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    return {"id": piece.id, "content": _name(piece), **never}


def _special(part: int) -> dict[str, Any]:
    return {"SpecialToken": {"id": EOD, "type_id": part}}


def _text(part: str) -> dict[str, Any]:
    return {"Sequence": {"id": part, "type_id": 0}}
