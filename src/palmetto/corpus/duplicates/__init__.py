"""Removes duplicates: equal texts, nearly equal texts, nearly equal files of code, and repeated passages."""
