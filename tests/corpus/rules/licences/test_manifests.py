"""Tests the licence that a package's description states."""

import pytest

from palmetto.corpus.rules.licences.expressions import UNRECOGNIZED
from palmetto.corpus.rules.licences.manifests import is_manifest, of_field, stated


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("package.json", '{"license": "GPL-3.0"}', "GPL-3.0"),
        ("package.json", '{"license": {"type": "MIT"}}', "MIT"),
        ("package.json", '{"licenses": [{"type": "MIT"}, {"type": "GPL-2.0"}]}', "MIT OR GPL-2.0"),
        ("package.json", '{"license": "SEE LICENSE IN LICENSE.md"}', None),
        ("package.json", '{"license": "UNLICENSED"}', UNRECOGNIZED),
        ("package.json", '{"name": ', None),
        ("composer.json", '{"license": ["LGPL-2.1-only", "MIT"]}', "LGPL-2.1-only OR MIT"),
        (
            "Cargo.toml",
            '[package]\nlicense = "MIT OR Apache-2.0"\n[dependencies]\nlicense = "0.1"',
            "MIT OR Apache-2.0",
        ),
        ("Cargo.toml", "license.workspace = true", None),
        ("pyproject.toml", '[project]\nlicense = {text = "GPL-3.0-or-later"}', "GPL-3.0-or-later"),
        (
            "pyproject.toml",
            'license = {file = "LICENSE"}\nclassifiers = [\n "License :: OSI Approved :: GNU Lesser General '
            'Public License v3 (LGPLv3)",\n]',
            "GNU Lesser General Public License v3 (LGPLv3)",
        ),
        ("setup.cfg", "[metadata]\nlicense = GPLv3+\nlicense_file = LICENSE", "GPLv3+"),
        ("setup.py", 'setup(name="x", license="BSD", description="unlike the GPL")', "BSD"),
        ("x.gemspec", "  s.licenses = ['MIT', 'GPL-2.0']", "GPL-2.0 AND MIT"),
        ("pom.xml", "<license>\n<name>Eclipse Public License 1.0</name>\n<url>x</url></license>", "EPL-1.0"),
        ("x.csproj", "<PackageLicenseExpression>MPL-2.0</PackageLicenseExpression>", "MPL-2.0"),
        ("DESCRIPTION", "Package: x\nLicense: GPL (>= 2)\n", "GPL (>= 2)"),
        ("x.cabal", "license:      GPL-3\n", "GPL-3"),
        ("meson.build", "project('x', 'c',\n  license: 'GPL-2.0-or-later')", "GPL-2.0-or-later"),
        ("project.clj", ':license {:name "Eclipse Public License" :url "u"}', "Eclipse Public License"),
        ("x.spec", "License:  GPLv2+ and MIT\n", "GPLv2+ and MIT"),
    ],
)
def test_the_stated_licence_is_read(name: str, text: str, expected: str | None) -> None:
    assert is_manifest(name)
    assert stated(name, text) == expected


def test_fields_of_other_shapes() -> None:
    assert of_field({"key": "gpl-3.0", "name": "GNU General Public License v3.0", "spdx_id": "GPL-3.0"}) == "GPL-3.0"
    assert of_field({"spdx_id": None, "name": "MIT License"}) == "MIT License"
    assert of_field([{"type": "MIT"}, 3, None]) == "MIT"
    assert of_field(7) is None
    assert not is_manifest("package.py")
