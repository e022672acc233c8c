"""Defines the stage that identifies the language of documents whose source does not state it."""

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from palmetto.corpus.engine import Engine
from palmetto.corpus.extras import need
from palmetto.corpus.stage import View
from palmetto.corpus.text import scripts
from palmetto.recipe.corpus import Build

_VERSION = 1
SAMPLE, SAMPLES = 512, 3
"""The length of a sample in characters, and the number of samples: a document's beginning, middle and end."""

_ALSO_LATIN = {"ku", "sr"}


@dataclass(frozen=True)
class Language:
    """The stage that adds each document's language as an ISO 639-1 code and drops languages that are not kept.

    kinds: the kind of each source; code has its programming language from the source and is not identified. kept: the
    languages to keep; None for all.
    """

    kinds: dict[str, str]
    kept: tuple[str, ...] | None = None
    name: str = field(default="language", init=False)

    @classmethod
    def of(cls, build: Build) -> "Language":
        """Returns the recipe's stage."""
        return cls({name: source.kind for name, source in build.sources.items()}, build.languages)

    @property
    def identity(self) -> dict[str, Any]:
        """The parameters, and the version of py3langid."""
        import importlib.metadata

        return {
            "version": _VERSION,
            "kinds": self.kinds,
            "kept": self.kept,
            "py3langid": importlib.metadata.version("py3langid"),
        }

    def prepare(self, view: View, engine: Engine, folder: Path) -> None:
        """Does nothing, because each document is identified by itself."""

    def annotate(self, documents: pa.Table, shard: str, folder: Path) -> pa.Table:
        """Adds `language`, null for a text without letters, and `confidence`, null if the source states the language.

        confidence: float32, 0 to 1.
        """
        languages, confidences, dropped = [], [], []
        for source, text, stated in zip(
            documents["source"].to_pylist(), documents["text"], documents["language"].to_pylist(), strict=True
        ):
            language, confidence = stated, None
            if self.kinds.get(source) != "code":
                if stated is None:
                    language, confidence = identify(text.as_py())
                refused = self.kept is not None and language not in self.kept
                dropped.append("language not kept" if refused else None)
            else:
                dropped.append(None)
            languages.append(language)
            confidences.append(confidence)
        return pa.table(
            {
                "dropped": pa.array(dropped, pa.string()),
                "language": pa.array(languages, pa.string()),
                "confidence": pa.array(confidences, pa.float32()),
            }
        )


def identify(text: str) -> tuple[str | None, float | None]:
    """Returns the ISO 639-1 code of a text's language and the confidence from 0 to 1, or (None, None) without letters.

    At most three samples of the text are used. The script decides if it belongs to one language; otherwise py3langid
    chooses among the script's languages. Its confidence is rounded to three digits, because the last bits of matrix
    products differ between machines.
    """
    sample = _sample(text)
    kinds = scripts.characters().script[scripts.codes(sample)]
    amounts = scripts.dominant(np.bincount(kinds, minlength=len(scripts.SCRIPTS))[None])[0]
    script, total = int(amounts.argmax()), int(amounts.sum())
    if not total:
        return None, None
    languages = scripts.SCRIPTS[script].languages
    if len(languages) == 1:
        return languages[0], round(float(amounts[script] / total), 3)
    label, confidence = _identifier(languages).classify(sample)
    return label, round(confidence, 3)


def _sample(text: str) -> str:
    if len(text) <= SAMPLE * SAMPLES:
        return text
    starts = np.linspace(0, len(text) - SAMPLE, SAMPLES).astype(int)
    return "\n".join(text[start : start + SAMPLE] for start in starts)


@functools.cache
def _identifier(languages: tuple[str, ...]) -> Any:
    """Returns py3langid's identifier restricted to some languages.

    Without any, it covers all two-letter codes whose script is not listed in scripts.py.
    """
    langid = need("py3langid.langid")
    identifier = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    listed = {language for script in scripts.SCRIPTS for language in script.languages} - _ALSO_LATIN
    chosen = languages or [label for label in identifier.labels if len(label) == 2 and label not in listed]
    identifier.set_languages([label for label in identifier.labels if label in chosen])
    # The model's float16 would be converted again for every document.
    identifier.nb_ptc = np.ascontiguousarray(identifier.nb_ptc, np.float32)
    return identifier
