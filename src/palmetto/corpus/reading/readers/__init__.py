"""Readers, one per kind of file: each takes an open file and yields its records."""
