"""Ways to choose the next token: one file each, in the order in which they are applied."""

from palmetto.decoding.strategies.strategy import Strategy
from palmetto.decoding.strategies.top_k import TopK
from palmetto.decoding.strategies.top_p import TopP

STRATEGIES: tuple[Strategy, ...] = (TopK(), TopP())
"""All strategies. Top-k comes before top-p, which counts only what top-k leaves."""
