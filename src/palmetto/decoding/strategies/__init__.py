"""Ways to choose the next token: one file each, in the order in which they are applied."""

from palmetto.decoding.strategies.banned import Banned
from palmetto.decoding.strategies.bias import Bias
from palmetto.decoding.strategies.constraint import Constrained
from palmetto.decoding.strategies.forced import Forced
from palmetto.decoding.strategies.frequency import Frequency
from palmetto.decoding.strategies.min_p import MinP
from palmetto.decoding.strategies.presence import Presence
from palmetto.decoding.strategies.repetition import Repetition
from palmetto.decoding.strategies.top_k import TopK
from palmetto.decoding.strategies.top_p import TopP
from palmetto.decoding.strategies.typical import Typical

STRATEGIES = (
    *(Repetition(), Presence(), Frequency(), Bias(), Banned(), Forced(), Constrained()),
    *(TopK(), TopP(), MinP(), Typical()),
)
"""All strategies. Those before the temperature come first; each of the others counts only what those before leave."""
