"""Readers: each takes an open file of one kind, and yields what is in it."""
