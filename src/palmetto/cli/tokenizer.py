"""`palmetto tokenizer`."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from palmetto.cli.common import Json, answer, path, text_path
from palmetto.errors import UserError

Model = Annotated[Path, typer.Argument(metavar="MODEL", parser=path, help="A vocabulary written by `tokenizer train`.")]

app = typer.Typer(help="Train, apply and inspect vocabularies.", no_args_is_help=True)


@app.command("train")
def train(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", parser=text_path, help="A file or folder of text, or `python`.")
    ],
    model: Annotated[Path, typer.Option("--out", parser=path, metavar="FILE", help="Where to write the vocabulary.")],
    size: Annotated[int, typer.Option(help="Number of pieces.")] = 32768,
    kind: Annotated[Literal["bpe", "unigram"], typer.Option(help="The algorithm that chooses the pieces.")] = "bpe",
    as_json: Json = False,
) -> None:
    """Train a lossless vocabulary."""
    from palmetto.corpus import documents
    from palmetto.recipe.corpus import Corpus
    from palmetto.tokens.training import SizeError
    from palmetto.tokens.vocabulary import Vocabulary

    texts = (document.text for document in documents.read(source, Corpus().section_bytes))
    try:
        vocabulary = Vocabulary.train(texts, size, kind)
    except SizeError as error:  # its message names a key of a recipe, not --size
        bound = f"needs at least {error.least}" if error.largest is None else f"gives at most {error.largest}"
        raise UserError(f"--size {size}: this text {bound} pieces") from None
    vocabulary.save(model)
    values = {"model": str(model), "size": vocabulary.size, "digest": vocabulary.digest}
    answer(values, f"{model}: {vocabulary.size} pieces, digest {vocabulary.digest}", as_json)


@app.command("encode")
def encode(model: Model, as_json: Json = False) -> None:
    """Read bytes from standard input, and print their ids separated by spaces."""
    from palmetto.tokens import vocabularies

    ids = vocabularies.load(model).encode_bytes(sys.stdin.buffer.read()).tolist()
    answer(ids, " ".join(map(str, ids)), as_json)


@app.command("decode")
def decode(model: Model) -> None:
    """Read ids from standard input, and write exactly the bytes that they stand for."""
    from palmetto.tokens import vocabularies

    words = sys.stdin.read().split()
    for word in words:
        if not word.isdigit():
            raise UserError(f"standard input: {word!r} is not an id; expected whole numbers separated by white space")
    sys.stdout.buffer.write(vocabularies.load(model).decode_bytes([int(word) for word in words]))
    sys.stdout.buffer.flush()


@app.command("inspect")
def inspect(model: Model, as_json: Json = False) -> None:
    """List every piece of a vocabulary."""
    from palmetto.tokens import vocabularies

    rows = [piece._asdict() | {"data": piece.data.hex()} for piece in vocabularies.load(model).pieces()]
    text = "\n".join(f"{row['id']:6}  {row['kind']:8} {row['name']!r:24} {row['score']:g}" for row in rows)
    answer(rows, text, as_json)
