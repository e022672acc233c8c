"""Pretrain PaLM- and GLaM-style language models, from raw text to an evaluated model."""

__version__ = "0.1.0"
