"""Determines the licence of code from files' own statements and from their repositories' files.

A copyleft licence requires the same licence of what is built from the code. Expressions are SPDX's
(spdx.github.io/spdx-spec, annex D).
"""
