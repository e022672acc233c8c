"""The stage that says which language a document is in, where its source does not."""

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
"""Characters of a sample, and the most samples of a document: its beginning, middle and end."""

_ALSO_LATIN = {"ku", "sr"}


@dataclass(frozen=True)
class Language:
    """Names each document's language by its ISO 639-1 code; drops those that are not kept.

    kinds: of each source. Code has its programming language from the source, and is never identified.
    kept: languages; None: all.
    """

    kinds: dict[str, str]
    kept: tuple[str, ...] | None = None
    name: str = field(default="language", init=False)

    @classmethod
    def of(cls, build: Build) -> "Language":
        """As a recipe has it."""
        return cls({name: source.kind for name, source in build.sources.items()}, build.languages)

    @property
    def identity(self) -> dict[str, Any]:
        """See `Stage`."""
        import importlib.metadata

        return {
            "version": _VERSION,
            "kinds": self.kinds,
            "kept": self.kept,
            "py3langid": importlib.metadata.version("py3langid"),
        }

    def prepare(self, view: View, engine: Engine, folder: Path) -> None:
        """Nothing: each document is identified by itself."""

    def note(self, documents: pa.Table, shard: str, folder: Path) -> pa.Table:
        """`language`, null where a text has no letters; `confidence` (float32, 0 to 1, null where the source has said
        it); `dropped`."""
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
    """The ISO 639-1 code of a text's language, and how sure that is, 0 to 1; (None, None) of a text without letters.

    Three samples are looked at, however long the text is. The script decides where it belongs to one language; else
    py3langid chooses among those that are written in it, its answer rounded to three digits, since products of
    matrices differ in the last between machines.
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
    """py3langid's, of these languages; of none: of all with a code of two letters and a script that is not listed."""
    langid = need("py3langid.langid")
    identifier = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    listed = {language for script in scripts.SCRIPTS for language in script.languages} - _ALSO_LATIN
    chosen = languages or [label for label in identifier.labels if len(label) == 2 and label not in listed]
    identifier.set_languages([label for label in identifier.labels if label in chosen])
    # The model's float16 would be converted again for every document.
    identifier.nb_ptc = np.ascontiguousarray(identifier.nb_ptc, np.float32)
    return identifier
