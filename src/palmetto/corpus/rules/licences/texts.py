"""Recognizes licences by their texts: phrases that are unique to each, and the shorter notices used instead."""

import re

from palmetto.corpus.rules.licences import statements
from palmetto.corpus.rules.licences.expressions import copyleft, family, joined, names

_TAG = re.compile(r"^[^\w\n]*SPDX-License-Identifier:[ \t]*([^\r\n]+)", re.MULTILINE | re.IGNORECASE)


def _creative_commons() -> list[tuple[str, str]]:
    """Returns the headings of Creative Commons licences, those with more conditions first."""
    conditions = {
        "-NC-SA": " noncommercial sharealike",
        "-NC-ND": " noncommercial noderivatives",
        "-NC": " noncommercial",
        "-ND": " noderivatives",
        "-SA": " sharealike",
        "": "",
    }
    headings = [
        (
            f"CC-BY{short}-{version[0]}.{version[2]}",
            f"attribution{long.replace('derivatives', ending)} {version}{where}",
        )
        for short, long in conditions.items()
        for version in ("4 0", "3 0", "2 5", "2 0", "1 0")
        for ending in ("derivatives", "derivs")
        for where in (("",) if short else (" international", " unported", " generic"))
    ]
    return list(dict.fromkeys(headings))


_PHRASES: tuple[tuple[str, str], ...] = (
    # The longer of two phrases comes first if one contains the other. Phrases are words with single spaces.
    ("AGPL-3.0", "gnu affero general public license version 3"),
    ("LGPL-3.0", "gnu lesser general public license version 3"),
    ("LGPL-2.1", "gnu lesser general public license version 2 1"),
    ("LGPL-2.0", "gnu library general public license version 2"),
    ("GPL-3.0", "gnu general public license version 3"),
    ("GPL-2.0", "gnu general public license version 2"),
    ("GPL-1.0", "gnu general public license version 1"),
    ("AGPL", "gnu affero general public license"),
    ("LGPL", "gnu lesser general public license"),
    ("LGPL", "gnu library general public license"),
    ("GPL", "gnu general public license"),
    ("GFDL", "gnu free documentation license"),
    ("MPL-2.0", "mozilla public license version 2 0"),
    ("MPL-2.0", "mozilla public license v 2 0"),
    ("MPL-1.1", "mozilla public license version 1 1"),
    ("MPL", "mozilla public license"),
    ("EPL-2.0", "eclipse public license v 2 0"),
    ("EPL-1.0", "eclipse public license v 1 0"),
    ("EPL", "eclipse public license"),
    ("EUPL-1.2", "european union public licence v 1 2"),
    ("EUPL", "european union public licence"),
    ("EUPL", "european union public license"),
    ("CDDL-1.0", "common development and distribution license"),
    ("CECILL-2.1", "cecill free software license agreement"),
    ("OSL-3.0", "open software license v 3 0"),
    ("CPL-1.0", "common public license version 1 0"),
    ("IPL-1.0", "ibm public license version 1 0"),
    ("QPL-1.0", "q public license version 1 0"),
    ("RPL-1.5", "reciprocal public license"),
    ("APSL-2.0", "apple public source license"),
    ("MS-RL", "microsoft reciprocal license"),
    ("Sleepycat", "redistributions in any form must be accompanied by information on how to obtain complete source"),
    ("ODbL-1.0", "open database license"),
    ("Elastic-2.0", "elastic license 2 0"),
    ("SSPL-1.0", "server side public license"),
    ("BUSL-1.1", "business source license 1 1"),
    ("Apache-2.0", "apache license version 2 0"),
    ("BSL-1.0", "boost software license version 1 0"),
    ("Unlicense", "this is free and unencumbered software released into the public domain"),
    ("CC0-1.0", "cc0 1 0 universal"),
    *_creative_commons(),
    (
        "0BSD",
        "permission to use copy modify and or distribute this software for any purpose with or without fee is "
        "hereby granted the software is provided",
    ),
    (
        "ISC",
        "permission to use copy modify and or distribute this software for any purpose with or without fee is "
        "hereby granted provided that the above copyright notice",
    ),
    (
        "ISC",
        "permission to use copy modify and distribute this software for any purpose with or without fee is hereby "
        "granted provided that the above copyright notice",
    ),
    ("Zlib", "altered source versions must be plainly marked as such and must not be misrepresented"),
    ("BSD-3-Clause", "redistributions of source code must retain the above copyright notice"),
    ("MIT", "permission is hereby granted free of charge to any person obtaining a copy of this software"),
    ("WTFPL", "do what the fuck you want to public license"),
    ("PSF-2.0", "python software foundation license version 2"),
    ("Artistic-2.0", "the artistic license 2 0"),
    ("Artistic-1.0", "the artistic license"),
    ("OFL-1.1", "sil open font license version 1 1"),
    ("MS-PL", "microsoft public license ms pl"),
    ("UPL-1.0", "the universal permissive license"),
    ("PostgreSQL", "postgresql license"),
    ("NCSA", "university of illinois ncsa open source license"),
)
_PERMISSIVE = tuple((name, phrase) for name, phrase in _PHRASES if not copyleft(name))
_ENDORSE = re.compile(
    r"neither the names? of|may not be used to endorse or promote|names? of .{0,80}not be used to endorse"
)


def recognized(text: str) -> str | None:
    """Returns the SPDX expression of a licence file's text, or None.

    A licence is recognized by a phrase that is unique to it. All that are found apply together ("MIT AND Apache-2.0"),
    unless a sentence offers a choice. A file without any licence's text is a notice: an SPDX identifier, a sentence
    ("released under the GPLv3"), or, if it is short, a name.
    """
    if tags := [found[1].strip() for found in _TAG.finditer(text)]:
        return joined(tags)
    words = _words(text)
    full = _by_phrases(words)
    chosen = statements.choice(text, permissive(text))
    if full is None:
        return chosen or statements.stated(text) or statements.named(text)
    if chosen:
        rest = [name for name in full if family(name) not in names(chosen) and copyleft(name)]
        return joined([chosen, *rest])
    return " AND ".join(full)


def permissive(text: str) -> str | None:
    """Returns the permissive licence whose text is in the given text, or None."""
    words = _words(text)
    return next((name for name, phrase in _PERMISSIVE if phrase in words), None)


def _words(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", " ", text.lower()).strip()


def _by_phrases(words: str) -> list[str] | None:
    """Returns the licence whose phrase comes first, and the copyleft licences after it if that is permissive."""
    places: dict[str, int] = {}
    for name, phrase in _PHRASES:
        found = words.find(phrase)
        # A licence may name others (the GPL the LGPL, the MPL its "secondary licences"); its own name comes first.
        if found >= 0 and name.split("-")[0] not in {other.split("-")[0] for other in places}:
            places[name] = found
    if not places:
        return None
    first = min(places, key=lambda name: places[name])
    if copyleft(first):
        return [first]
    if first == "BSD-3-Clause" and not _ENDORSE.search(words):
        first = "BSD-2-Clause"
    # Permissive licences name another only where its text follows (for an included library); then all apply.
    # A version must be named: "compatible with the GNU General Public License" is not a grant.
    others = [name for name in places if "-" in name and copyleft(name)]
    return [first, *sorted(others)]
