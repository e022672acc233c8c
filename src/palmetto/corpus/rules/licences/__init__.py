"""Licences of code: what files say of themselves, what a repository's files say of it, and which ask for the same
licence of what is built from them (copyleft). Expressions are SPDX's (spdx.github.io/spdx-spec, annex D)."""
