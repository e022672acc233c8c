"""Tests SPDX expressions, and the names that people use for licences."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmetto.corpus.rules.licences.expressions import UNRECOGNIZED, combined, copyleft, joined, unrecognized


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("MIT", False),
        ("Apache-2.0 WITH LLVM-exception", False),
        ("Unlicense OR MIT", False),
        ("BSD-3-Clause", False),
        ("GPL-2.0-or-later", True),
        ("lgpl-2.1", True),
        ("AGPL-3.0-only", True),
        ("MPL-2.0", True),
        ("EPL-2.0", True),
        ("EUPL-1.2", True),
        ("CDDL-1.0", True),
        ("GPLv2+", True),
        ("CC-BY-SA-4.0", True),
        ("CC-BY-4.0", False),
        ("GPL-2.0-only OR MIT", False),
        ("MIT AND GPL-3.0", True),
        ("(MIT AND GPL-3.0) OR Apache-2.0", False),
        ("MIT AND (GPL-2.0 OR LGPL-2.1)", True),
        ("MIT AND (GPL-2.0 OR ISC)", False),
        ("GPL-2.0 WITH Classpath-exception-2.0", True),
        ("GPL-2.0 WITH Classpath-exception-2.0 OR MIT", False),
        ("MIT OR GPL-2.0 AND ISC", False),
        ("GPL-2.0 OR MIT AND LGPL-3.0", True),
        ("mit or gpl", False),
        ("MIT/Apache-2.0", False),
        ("MIT GPL-2.0", True),
        ("", False),
        ("(((", False),
        (")GPL-2.0", True),
        ("(" * 5000 + "GPL-2.0", True),
    ],
)
def test_copyleft_of_an_expression(expression: str, expected: bool) -> None:
    assert copyleft(expression) is expected


Tree = str | tuple[str, "Tree", "Tree"]
trees: st.SearchStrategy[Tree] = st.recursive(
    st.sampled_from(["MIT", "ISC", "GPL-2.0", "MPL-2.0"]),
    lambda inner: st.tuples(st.sampled_from(["AND", "OR"]), inner, inner),
    max_leaves=12,
)


@given(trees)
def test_copyleft_follows_the_tree_of_choices(tree: Tree) -> None:
    def written(node: Tree) -> str:
        return node if isinstance(node, str) else f"({written(node[1])} {node[0]} {written(node[2])})"

    def truth(node: Tree) -> bool:
        if isinstance(node, str):
            return node in ("GPL-2.0", "MPL-2.0")
        return (all if node[0] == "OR" else any)(truth(branch) for branch in node[1:])

    assert copyleft(written(tree)) is truth(tree)


@given(st.text(st.sampled_from("() MITGPL-ORANDWITH")))
def test_no_text_breaks_the_parser(expression: str) -> None:
    copyleft(expression)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("GPL-2.0 or later", True),
        ("GPLv2 or (at your option) any later version", True),
        ("GPL v2 or v3", True),
        ("GPL-2 | GPL-3", True),
        ("GPL (>= 2)", True),
        ("GNU General Public License v3.0", True),
        ("GNU Lesser General Public License v2.1", True),
        ("gnu gplv3", True),
        ("mpl 1.1/gpl 2.0/lgpl 2.1", True),
        ("Mozilla Public License 2.0", True),
        ("GPLv2+ and LGPLv2+", True),
        ("MIT, GPL-3.0", True),
        ("lgpl-2.1-or-later and mit", True),
        ("gpl-2.0 with classpath-exception-2.0 or mit", False),
        ("CC BY-SA 3.0", True),
        ("CC-BY-SA-3.0", True),
        ("Creative Commons Attribution-ShareAlike 3.0 Unported", True),
        ("CC-BY-NC-4.0", True),
        ("CC-BY-NC-SA-4.0", True),
        ("CC BY 4.0", False),
        ("https://www.gnu.org/licenses/gpl-3.0.html", True),
        ("https://creativecommons.org/licenses/by-sa/4.0/", True),
        ("http://opensource.org/licenses/MIT", False),
        ("GPL-2.0 OR commercial", True),
        ("Ruby OR GPL-2.0", False),
        ("BSL-1.0", False),
        ("BUSL-1.1", True),
        ("CECILL-B", False),
        ("CECILL-2.1", True),
        ('BSD 3-Clause "New" or "Revised" License', False),
        ("MIT + file LICENSE", False),
    ],
)
def test_copyleft_by_the_names_that_people_write(expression: str, expected: bool) -> None:
    assert copyleft(expression) is expected
    assert unrecognized(expression) is ("commercial" in expression)


@pytest.mark.parametrize("expression", ["LicenseRef-Acme", "MIT AND Acme-1.0", UNRECOGNIZED, "Proprietary"])
def test_names_that_are_not_known(expression: str) -> None:
    assert unrecognized(expression)
    assert not copyleft(expression)


def test_statements_and_files_together() -> None:
    assert combined(None, "MIT") == combined("NOASSERTION", "MIT") == "MIT"
    assert combined("MIT", None) == "MIT"
    assert combined("MIT OR Apache-2.0", "MIT") == "MIT OR Apache-2.0"
    assert combined("MIT OR GPL-2.0-only", "GPL-2.0") == "MIT OR GPL-2.0-only"
    assert combined("MIT", "GPL-3.0") == "(MIT) AND (GPL-3.0)"
    assert joined(["MIT", "GPL-2.0 OR ISC", "MIT"]) == "(GPL-2.0 OR ISC) AND MIT"
    assert joined([]) is None
    assert combined("NOASSERTION", None) == combined("other", None) == UNRECOGNIZED
    assert combined("NONE", None) is None
