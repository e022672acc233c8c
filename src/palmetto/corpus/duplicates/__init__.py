"""Duplicates: whole texts, texts that are nearly the same, files of code, and passages that occur again."""
