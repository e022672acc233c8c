"""Tests that a reader of tokenizer.json gives our ids, and that [eod] is in front and never read from text."""

import json
import re
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from palmetto.interop import peer, tokenizer
from palmetto.interop.export import export
from palmetto.recipe.chat_template import ChatTemplate, Message
from palmetto.tokens.vocabulary import Kind
from tests.interop.conftest import Peers
from tests.references import exported
from tests.references.vocabularies import NASTY, VOCABULARIES

VOCABULARY = VOCABULARIES["bpe"]
UNICODE = [text for text in NASTY if not re.search("[\ud800-\udfff]", text)]
phrases = st.lists(st.sampled_from(UNICODE) | st.text(), max_size=6).map("".join)


def encode(contents: dict[str, Any], text: str) -> list[int]:
    """Returns the ids that the format's description gives, slowly."""
    model, pattern = contents["model"], contents["pre_tokenizer"]["pattern"]["Regex"].replace(r"\x{0}", r"\x00")
    ranks = {tuple(pair): rank for rank, pair in enumerate(model["merges"])}
    ids = []
    for run in re.findall(pattern, text):
        symbols = [
            symbol
            for character in run
            for symbol in ([character] if character in model["vocab"] else [f"<0x{b:02X}>" for b in character.encode()])
        ]
        while pairs := [pair for pair in pairwise(symbols) if pair in ranks]:
            at = list(pairwise(symbols)).index(min(pairs, key=ranks.__getitem__))
            symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]
        ids += [model["vocab"][symbol] for symbol in symbols]
    return ids


def test_a_reader_of_the_file_gives_our_ids() -> None:
    contents = tokenizer.tokenizer(VOCABULARY)

    @settings(max_examples=300)
    @given(phrases)
    def check(text: str) -> None:
        assert encode(contents, text) == VOCABULARY.encode(text).tolist()

    for text in UNICODE:
        check = example(text)(check)
    check()


def test_the_document_mark_is_added_and_never_read() -> None:
    contents = tokenizer.tokenizer(VOCABULARY)
    assert contents["added_tokens"] == []  # a reader would find them in text
    assert contents["post_processor"]["single"][0] == {"SpecialToken": {"id": "[eod]", "type_id": 0}}
    assert contents["post_processor"]["special_tokens"]["[eod]"]["ids"] == [VOCABULARY.eod]
    assert VOCABULARY.eod not in encode(contents, "a [eod] b")


def test_added_pieces_are_found_before_anything_is_merged() -> None:
    words = VOCABULARY.extended(["<|user|>", "two words"])
    contents, plain = tokenizer.tokenizer(words), tokenizer.tokenizer(VOCABULARY)
    assert [(each["id"], each["content"]) for each in contents["added_tokens"]] == [
        (VOCABULARY.size, "<|user|>"),
        (VOCABULARY.size + 1, "two words"),
    ]
    assert not any(each["special"] for each in contents["added_tokens"])
    assert contents["model"]["merges"] == plain["model"]["merges"]


@pytest.mark.slow
@pytest.mark.parametrize(("target", "kind"), [("huggingface", "bpe"), ("huggingface", "unigram"), ("gguf", "bpe")])
def test_other_programs_find_added_pieces_as_we_do(target: str, kind: Kind, peers: Peers, tmp_path: Path) -> None:
    words, recipe = exported.vocabulary(kind).extended(["<|user|>", "two words", "\u00a7"]), exported.recipe({}, kind)
    recipe = recipe.model_copy(update={"tokens": recipe.tokens.model_copy(update={"vocabulary_size": words.size})})
    export(exported.made(tmp_path / "run", recipe, words=words), target, tmp_path / "out", None, "float32")
    texts = ["<|user|>a two words\u00a7\u00a7 <|user|><|user|>", "x two wordsy <|user|", "two\nwords two words"]
    asked = peer.Question([[1, 2]], [[1]], 1, texts, 0, words.size)
    found = peer.ask(peer.RUNTIMES[target], peers(target), tmp_path / "out", asked).ids
    expected = [words.encode(text).tolist() for text in texts]
    assert [sum(id >= exported.SIZES[kind] for id in ids) for ids in expected] == [6, 1, 1]
    assert found == [[words.eod, *ids] for ids in expected]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_transformers_reads_every_text_as_we_do(kind: Kind, peers: Peers, tmp_path: Path) -> None:
    python = peers("huggingface")
    if kind == "unigram" and subprocess.run([python, "-c", "import sentencepiece"], capture_output=True).returncode:
        pytest.skip("no sentencepiece in the peers' environment, which a unigram vocabulary needs")
    run = exported.made(tmp_path / "run", exported.recipe({}, kind))
    export(run, "huggingface", tmp_path / "out", None, "float32")
    texts = [*UNICODE, *(chr(code) * 2 + "a" for code in range(0xD800)), exported.TEXT]
    asked = peer.Question([[1, 2]], [[1]], 1, texts, 0, exported.SIZES[kind])
    vocabulary = exported.vocabulary(kind)
    found = peer.ask(peer.RUNTIMES["huggingface"], python, tmp_path / "out", asked).ids
    assert found == [[vocabulary.eod, *vocabulary.encode(text).tolist()] for text in texts]


TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}{{ bos_token }}?"
CHAT: list[Message] = [
    {"role": "user", "content": "a [eod] b"},
    {"role": "assistant", "content": "c"},
    {"role": "user", "content": "d"},
]
WRITERS = {
    "huggingface": """
import json, sys
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
print(json.dumps(tokenizer.apply_chat_template(json.loads(sys.argv[2]), tokenize=False)))
""",
    "gguf": """
import json, sys, urllib.request, xllamacpp
settings = xllamacpp.CommonParams()
settings.model.path, settings.use_jinja, settings.warmup = sys.argv[1] + "/model.gguf", True, False
server = xllamacpp.Server(settings)
body = json.dumps({"messages": json.loads(sys.argv[2])}).encode()
address, kind = f"{server.listening_address}/apply-template", {"Content-Type": "application/json"}
request = urllib.request.Request(address, body, kind)
print(json.dumps(json.load(urllib.request.urlopen(request))["prompt"]))
""",
}
"""Programs of each target's runtime that write a chat by the template of an export."""


@pytest.mark.slow
@pytest.mark.parametrize("target", WRITERS)
def test_other_programs_write_chats_as_we_do(target: str, peers: Peers, tmp_path: Path) -> None:
    recipe = exported.recipe({})
    recipe = recipe.model_copy(update={"tokens": recipe.tokens.model_copy(update={"chat_template": TEMPLATE})})
    export(exported.made(tmp_path / "run", recipe), target, tmp_path / "out", None, "float32")
    asked = [str(peers(target)), "-c", WRITERS[target], str(tmp_path / "out"), json.dumps(CHAT)]
    written = json.loads(subprocess.run(asked, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    pieces = ChatTemplate(TEMPLATE, "").prompt(CHAT)
    front = "" if target == "gguf" else "[eod]"  # llama.cpp's tokenizer puts it there
    assert written == front + "".join(piece.text + "[eod]" * piece.ends for piece in pieces)
