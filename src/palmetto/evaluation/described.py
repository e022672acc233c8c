"""Makes a task from a YAML file that describes it, so that a set of one's own needs no code."""

import hashlib
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from string import Formatter
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from palmetto.errors import UserError, nearest
from palmetto.evaluation.answers import words
from palmetto.evaluation.tasks.arithmetic import number, vote
from palmetto.evaluation.tasks.reading import json_lines, json_list, table
from palmetto.evaluation.tasks.task import Example, File, Normalization, Option, Record, Task, meaning
from palmetto.recipe import core_schema
from palmetto.recipe.section import Positive, Section

_READERS: dict[str, Callable[[Path], Iterable[Record]]] = {
    "jsonl": json_lines,
    "json": json_list,
    "csv": table,
    "tsv": partial(table, delimiter="\t"),
}


Text = Annotated[str, Field(min_length=1)]
"""A text that is not empty, and has no half of a surrogate pair."""


class Description(Section):
    """Holds what a file says about a task. Texts take the fields of a record in braces, as in {question}."""

    name: Text
    file: Text
    """The path of the records, in the folder of all sets."""
    training: Text | None = None
    """The path of the records for shots."""
    format: Literal["jsonl", "json", "csv", "tsv"] = "jsonl"
    context: str
    options: list[str] | str | None = None
    """The options as texts, or the field that holds a list of them."""
    gold: str | None = None
    """The field with the right option: its place from 0, its letter, or its text."""
    answers: str | None = None
    """The field with the accepted answer, or a list of them, if there are no options."""
    mark: Literal["words", "number"] = "words"
    instruction: str = ""
    category: Text = "Own"
    normalization: Normalization = "token"
    stop: list[Text] = Field(["\n"])
    tokens: Positive = 32

    @model_validator(mode="after")
    def _check(self) -> "Description":
        if (self.options is None) == (self.answers is None):
            raise ValueError("expected either options and gold, or answers")
        if (self.options is None) != (self.gold is None):
            raise ValueError("gold: expected the field with the right option, with options and only with them")
        for text in (self.context, *(self.options if isinstance(self.options, list) else ())):
            _check_template(text)
        return self

    def example(self, record: Record) -> Example:
        """Returns a record as an example; raises KeyError for a field that it has not, ValueError for a wrong gold."""
        context = self.context.format_map(record)
        if self.answers is not None:
            answers = record[self.answers]
            accepted = answers if isinstance(answers, list) else [answers]
            if not accepted or not all(isinstance(answer, str | int | float) for answer in accepted):
                raise ValueError(f"{self.answers}: {accepted!r:.60} is no answer; expected a text or a list of texts")
            return Example(context=context, answers=tuple(str(answer) for answer in accepted))
        assert self.options is not None, "it was checked"
        assert self.gold is not None, "it was checked"
        given = record[self.options] if isinstance(self.options, str) else self.options
        if not isinstance(given, list) or len(given) < 2:
            raise ValueError(f"options: {given!r:.60}; expected a list of two or more")
        texts = [str(text).format_map(record) if given is self.options else str(text) for text in given]
        options = tuple(Option(context, f" {text.strip()}") for text in texts)
        return Example(options, (_place(record[self.gold], texts),))

    def source(self, path: str | None) -> tuple[File, ...]:
        """Returns a file as tasks take it, or none."""
        return () if path is None else (File(path, _READERS[self.format], f"records of {self.format}"),)


def _check_template(text: str) -> None:
    """Raises ValueError if a text has other braces than those of fields."""
    for _, field, form, conversion in Formatter().parse(text):
        if field is not None and (form or conversion or "." in field):
            raise ValueError(f"{text!r:.60}: expected only fields in braces, as in {{question}}")


def load(path: Path) -> Task:
    """Returns the task that a YAML file describes; raises UserError that names the file and the key."""
    try:
        text = path.read_text(encoding="utf-8")
        description = Description.model_validate(core_schema.parse(text, str(path)))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 (byte {error.start})") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        close = nearest(key, Description.model_fields) if first["type"] == "extra_forbidden" else ""
        raise UserError(f"{path}: {f'{key}: ' if key else ''}{first['msg']}{close}") from None
    return Task(
        description.name,
        description.category,
        description.source(description.file),
        description.example,
        description.source(description.training),
        curated=description.training is not None,
        instruction=description.instruction,
        normalization=description.normalization,
        metric="acc" if description.options is not None else "em",
        mark=None if description.options is not None else {"words": words, "number": number}[description.mark],
        vote=vote if description.mark == "number" else meaning,
        stop=tuple(description.stop),
        tokens=description.tokens,
        digest=hashlib.sha256(text.encode()).hexdigest()[:16],
    )


def _place(gold: object, texts: list[str]) -> int:
    """Returns the place of the right option, which may be given as a place, as a text or as a letter.

    Raises ValueError if it is none of them, or if two of them are different options.
    """
    text, readings = str(int(gold)) if isinstance(gold, bool) else str(gold).strip(), dict[str, int]()
    if text.isdecimal() and int(text) < len(texts):
        readings["place"] = int(text)
    if text in texts:
        readings["text"] = texts.index(text)
    if len(text) == 1 and 0 <= ord(text.upper()) - ord("A") < len(texts):
        readings["letter"] = ord(text.upper()) - ord("A")
    if not readings:
        raise ValueError(f"{text!r} is no place, letter or text of {len(texts)} options")
    if len(set(readings.values())) > 1:
        raise ValueError(f"{text!r} is the {' of one option and the '.join(readings)} of another; expected one meaning")
    return next(iter(readings.values()))
