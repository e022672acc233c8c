"""Tests the languages of code."""

from palmetto.corpus.reading import code_languages


def test_there_are_24_and_no_extension_belongs_to_two() -> None:
    extensions = [extension for of_one in code_languages.EXTENSIONS.values() for extension in of_one]
    assert len(code_languages.EXTENSIONS) == 24
    assert len(extensions) == len(set(extensions))


def test_the_language_follows_the_extension_in_any_case() -> None:
    named = {"src/a.py": "Python", "b.CPP": "C++", "c.d.ts": "TypeScript", "x.R": "R", "Main.java": "Java"}
    assert {path: code_languages.language(path) for path in named} == named
    assert [code_languages.language(path) for path in ("README.md", "py", ".py", "Makefile", "")] == [None] * 5
