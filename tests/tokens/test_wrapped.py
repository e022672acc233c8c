"""Tests that a foreign tokenizer keeps what our own vocabularies promise, and says what it cannot."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from palmetto.corpus import examples as corpus
from palmetto.decoding.text import Pieces
from palmetto.errors import UserError
from palmetto.recipe.chat_template import ChatTemplate, Message
from palmetto.recipe.objectives import ExamplesObjective
from palmetto.tokens import vocabularies
from palmetto.tokens.chats import encode_chat
from palmetto.tokens.examples import DataSet, pack
from palmetto.tokens.marks import unmark
from palmetto.tokens.store import TokenStore
from palmetto.tokens.wrapped import WrappedVocabulary, wrap
from palmetto.workflow.examples import Examples
from tests.conftest import RecipeMaker
from tests.references import foreign
from tests.references.vocabularies import NASTY

pytest.importorskip("tokenizers", reason="needs the extra interop")
texts = st.lists(st.sampled_from(NASTY) | st.text(), max_size=6).map("".join)


@pytest.fixture(scope="module")
def bytewise() -> WrappedVocabulary:
    return WrappedVocabulary(foreign.wrapped(foreign.byte_level()))


@pytest.fixture(scope="module")
def spaced() -> WrappedVocabulary:
    """Returns a tokenizer as Llama 2 has one: it puts a space in front of a text and has bytes for what it lacks."""
    return WrappedVocabulary(foreign.wrapped(foreign.byte_fallback()))


def test_ids_are_those_of_the_library(bytewise: WrappedVocabulary, spaced: WrappedVocabulary) -> None:
    for vocabulary in (bytewise, spaced):
        library = foreign.library(vocabulary.contents)

        @settings(max_examples=200, deadline=None)
        @given(st.text(st.characters(exclude_characters="\u2581", exclude_categories=["Cs"])))
        def check(text: str) -> None:
            assert vocabulary.encode(text).tolist() == library.encode(text, add_special_tokens=False).ids  # noqa: B023

        check()


def test_byte_level_tokenizers_give_everything_back(bytewise: WrappedVocabulary) -> None:
    @settings(max_examples=300, deadline=None)
    @given(st.binary() | texts.map(lambda text: text.encode("utf-8", "surrogatepass")))
    @example(bytes(range(256)))
    def check(data: bytes) -> None:
        assert bytewise.decode_bytes(bytewise.encode_bytes(data)) == data

    check()
    assert bytewise.remarks() == ["puts nothing in front of a text; here it is <s>"]


def test_what_does_not_come_back_is_named(spaced: WrappedVocabulary) -> None:
    (changed,) = spaced.remarks()
    assert re.fullmatch("does not give every text back; it changes .*the beginning of a text.*", changed)
    assert spaced.decode(spaced.encode("a b")) == " a b"


def test_no_text_gives_a_special_token(bytewise: WrappedVocabulary) -> None:
    assert bytewise.eod not in bytewise.encode(f"a {foreign.END} b")
    assert bytewise.decode([bytewise.eod]) == ""
    assert bytewise.around == ([], [])
    with pytest.raises(UserError, match="takes no new pieces"):
        bytewise.extended(["<think>"])


TURNS = (
    "{% for message in messages %}<s>{{ message.role }}\n{{ message.content }}</s> \n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)


@pytest.mark.parametrize("taken", [(False, False), (True, False), (False, True)])
def test_a_template_gives_special_tokens_as_the_library_does(taken: tuple[bool, bool]) -> None:
    contents = foreign.byte_level()
    contents["added_tokens"][1] |= {"lstrip": taken[0], "rstrip": taken[1]}
    vocabulary, library = WrappedVocabulary(foreign.wrapped(contents)), foreign.library(contents)
    library.encode_special_tokens = False
    chat: list[Message] = [{"role": "system", "content": " be brief "}, {"role": "user", "content": "a <b"}]
    written = "<s>system\n be brief </s> \n<s>user\na <b</s> \n<s>assistant\n"
    segments = ChatTemplate(TURNS, "", vocabulary.specials).prompt(chat)
    ids = [vocabulary.beginning, *encode_chat(segments, vocabulary)]
    assert ids == library.encode(written, add_special_tokens=False).ids
    assert ids.count(vocabulary.beginning) == 3
    assert ids.count(vocabulary.eod) == 2


@pytest.mark.parametrize("end", [foreign.END, foreign.BEGINNING])
def test_training_cuts_a_chat_as_serving_does(end: str, tiny_recipe: RecipeMaker, tmp_path: Path) -> None:
    """Also where one token begins and ends texts, as GPT-2's does, and a template begins with it."""
    contents = foreign.byte_level()
    vocabulary = WrappedVocabulary(foreign.wrapped(contents, end=end))
    source = TURNS.replace(foreign.END, end)
    chats: list[list[Message]] = [
        [{"role": "user", "content": f"{n}+1="}, {"role": "assistant", "content": f"{n + 1}"}] for n in range(2)
    ]
    data = tmp_path / "chats.jsonl"
    data.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    cut = Examples(tiny_recipe(f"tokens.chat_template={json.dumps(source)}"))._segments(vocabulary)
    stores = [tmp_path / "train", tmp_path / "validation"]
    pack(
        [DataSet("chats", None, corpus.read(data, cut))],
        vocabulary,
        *stores,
        objective=ExamplesObjective(),
        sequence_length=64,
        validation_share=0.5,
        seed=0,
        source_fingerprint="",
    )
    found: dict[tuple[int, ...], npt.NDArray[np.int32]] = {}
    for store in stores:
        opened = TokenStore.open(store, vocabulary_digest=vocabulary.digest)
        marked = unmark(opened.read_stored(np.arange(opened.windows)))
        found |= {
            tuple(row[: np.flatnonzero(scored)[-1] + 1]): row[scored] for row, scored, _ in zip(*marked, strict=True)
        }
    library = foreign.library(contents)
    library.encode_special_tokens = False
    for chat in chats:
        served = encode_chat(ChatTemplate(source, "", vocabulary.specials).segments(chat), vocabulary).tolist()
        written = "".join(f"<s>{each['role']}\n{each['content']}{end} \n" for each in chat)
        assert [vocabulary.beginning, *served] == library.encode(written, add_special_tokens=False).ids
        predicted = found[vocabulary.beginning, *served, vocabulary.eod]
        assert vocabulary.decode(predicted[:1]) == chat[1]["content"]
        assert predicted[1] == vocabulary.eod, "the end of a turn is predicted"


def test_a_name_of_one_character_is_found_too() -> None:
    contents = foreign.byte_level()
    added = contents["added_tokens"][0] | {"id": len(contents["model"]["vocab"]), "content": "\u2016"}
    contents["added_tokens"].append(added)
    vocabulary = WrappedVocabulary(foreign.wrapped(contents))
    segments = ChatTemplate("\u2016{{ messages[0].content }}", "", vocabulary.specials).prompt(
        [{"role": "user", "content": "a\u2016"}]
    )
    assert encode_chat(segments, vocabulary).tolist() == [added["id"], *vocabulary.encode("a\u2016")]


@pytest.mark.parametrize("said", ["</s>", "a</s>b<s>", "<<s>s></</s>s>", "/s", "</s", "s>", "<", ">", "</s></s>"])
def test_no_message_gives_a_special_token(bytewise: WrappedVocabulary, said: str) -> None:
    template = "{% for message in messages %}<{{ message.content }}>{{ message.content | upper | trim }}{% endfor %}"
    segments = ChatTemplate(template, "", bytewise.specials).prompt([{"role": "user", "content": said}])
    assert [segment.special for segment in segments] == [""]
    assert segments[0].text == f"<{said}>{said.upper()}"
    assert not {bytewise.eod, bytewise.beginning} & set(encode_chat(segments, bytewise).tolist())


def test_texts_are_neither_cut_nor_filled_up(bytewise: WrappedVocabulary) -> None:
    """A tokenizer.json may ask for both, for the batches that were once encoded."""
    cut = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    pad = {"strategy": {"Fixed": 64}, "direction": "Right", "pad_id": 0, "pad_type_id": 0, "pad_token": "<s>"}
    pad["pad_to_multiple_of"] = None
    changed = WrappedVocabulary(foreign.wrapped(foreign.byte_level() | {"truncation": cut, "padding": pad}))
    text = "a tree of many kinds"
    assert changed.encode(text).tolist() == bytewise.encode(text).tolist()
    assert changed.around == bytewise.around


def test_what_stands_behind_a_text_is_told_apart() -> None:
    vocabulary = WrappedVocabulary(foreign.wrapped(foreign.ending(foreign.byte_fallback())))
    assert vocabulary.around == ([0], [1])
    assert vocabulary.remarks()[1:] == ["puts </s> behind a text; here it is nothing"]


def test_tokens_that_a_text_could_name_are_refused() -> None:
    with pytest.raises(UserError, match=r"a text with '<s>' gives the special token 0, which no text may"):
        WrappedVocabulary(foreign.wrapped(foreign.unigram()))
    contents = foreign.byte_level()
    contents["pre_tokenizer"]["use_regex"] = False
    contents["model"]["ignore_merges"] = True
    with pytest.raises(UserError, match=r"a text with '<s>' gives the special token 0"):
        WrappedVocabulary(foreign.wrapped(contents))  # a text that is the name alone
    contents = foreign.byte_level()
    with pytest.raises(UserError, match=r"a text with 'H' gives the special token"):
        WrappedVocabulary(wrap(contents, beginning=0, end=contents["model"]["vocab"]["H"], size=360))


def test_no_text_gives_or_shows_an_end_of_answers() -> None:
    """One of them is no special token in its file."""
    contents = foreign.turning(foreign.byte_level())
    vocabulary = WrappedVocabulary(wrap(contents, beginning=0, end=1, size=360, further_ends=[350, 351]))
    assert (vocabulary.eod, vocabulary.ends, vocabulary.between) == (1, (1, 350, 351), [1, 0])
    said = f"a {foreign.TURN}{foreign.CALL} b"
    ids = vocabulary.encode(said).tolist()
    assert not {350, 351} & set(ids)
    assert vocabulary.decode([350, *ids, 351]) == said
    assert [special.name for special in vocabulary.specials][2:] == [foreign.TURN, foreign.CALL]
    assert vocabulary.contents == contents


def test_ends_of_answers_that_are_text_are_refused() -> None:
    contents = foreign.byte_level()
    letter = contents["model"]["vocab"]["H"]
    with pytest.raises(UserError, match=rf"eos_token_id names {letter}, 'H'; expected special tokens"):
        WrappedVocabulary(wrap(contents, beginning=0, end=1, size=360, further_ends=[letter]))
    with pytest.raises(UserError, match="ends it with 1 or 360, and the model has 360 ids"):
        WrappedVocabulary(wrap(contents, beginning=0, end=1, size=360, further_ends=[360]))


def test_one_end_of_answers_changes_no_file() -> None:
    """Vocabularies that were imported before have the digests that they had."""
    made = wrap({}, beginning=0, end=1, size=2)
    assert made == b'{"beginning": 0, "end": 1, "size": 2, "tokenizer": {}}'


def test_a_token_of_no_bytes_is_refused() -> None:
    contents = foreign.byte_level()
    contents["model"]["vocab"]["foo bar"] = len(contents["model"]["vocab"])
    with pytest.raises(UserError, match=r"token 350, 'foo bar': ' ' stands for no byte"):
        WrappedVocabulary(wrap(contents, beginning=0, end=1, size=360))


def test_pieces_have_names_of_their_own(bytewise: WrappedVocabulary, spaced: WrappedVocabulary) -> None:
    for vocabulary in (bytewise, spaced):
        pieces = Pieces(vocabulary)
        assert len(set(pieces.names)) == len(pieces.names) == vocabulary.size
        ids = vocabulary.encode("tree 日本")
        assert b"".join(pieces.data[id] for id in ids) == vocabulary.decode_bytes(ids)


def test_a_saved_vocabulary_is_read_again(bytewise: WrappedVocabulary, tmp_path: Any) -> None:
    bytewise.save(tmp_path / "vocabulary.model")
    again = vocabularies.load(tmp_path / "vocabulary.model")
    assert isinstance(again, WrappedVocabulary)
    assert again.kind == "wrapped"
    assert again.digest == bytewise.digest
    assert again.encode("a tree").tolist() == bytewise.encode("a tree").tolist()


def test_tokenizers_without_bytes_are_refused() -> None:
    contents = foreign.byte_level()
    del contents["model"]["vocab"]["Ġ"]
    contents["model"]["merges"] = []
    with pytest.raises(UserError, match="without a token for each byte"):
        WrappedVocabulary(foreign.wrapped(contents))
    with pytest.raises(UserError, match="and the model has 5 ids"):
        WrappedVocabulary(wrap(foreign.byte_level(), beginning=0, end=1, size=5))
    with pytest.raises(UserError, match=r"my\.json: the library tokenizers cannot read it"):
        WrappedVocabulary(wrap({"model": 1}, beginning=0, end=0, size=9), "my.json")
    with pytest.raises(UserError, match="cannot read it"):
        WrappedVocabulary(json.dumps({"other": 1}).encode())
