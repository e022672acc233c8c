"""Stands for the failure of a library's compiled code."""


class Panic(BaseException):
    """Stands for what llguidance raises where its own code fails: it is no Exception."""
