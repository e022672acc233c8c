"""Scores a run's newest checkpoint on all of its held-out text, in bits a byte.

    python benchmarks/bits_a_byte.py RUN [--weights float32|bfloat16|int8]

The documents follow each other, each with the token that ends it, in windows of the length that the model was trained
on; a window begins with the last token of the one before, so that every token is predicted exactly once. The output is
one line of JSON: steps, the bytes of text, and bits a byte, which are the nats of all tokens over ln 2 and the bytes.
Unlike nats a token, they can be compared between vocabularies. With --weights the model is computed as decoding does
with weights of that type, and the line has the perplexity too, which shows what the type costs.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import get_args

import numpy as np
from text import held_out

from palmetto.recipe.model import Weights
from palmetto.runs.directory import RunDirectory
from palmetto.tokens.store import TokenStore
from palmetto.workflow.entering import enter_to_read

AT_ONCE = 16
"""Windows in a batch."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--weights", choices=get_args(Weights), help="the type that weights are held in")
    arguments = parser.parse_args()
    run = RunDirectory.existing(arguments.run)
    recipe = enter_to_read(run, lambda message: print(message, file=sys.stderr))
    import jax

    from palmetto.decoding.trained import restore
    from palmetto.model import tuning
    from palmetto.model.held import hold
    from palmetto.model.layout import arrange
    from palmetto.training.origin import load_vocabulary
    from palmetto.training.step.loss import Batch, token_losses

    vocabulary, length = load_vocabulary(run), recipe.tokens.sequence_length
    store = TokenStore.open(run.validation_store, vocabulary_digest=vocabulary.digest)
    stream = np.concatenate([[vocabulary.eod], store.stretch(0, store.header.tokens)]).astype(np.int32)
    here = tuning.for_platform(jax.default_backend())
    state, step, _ = restore(run)
    arranged = arrange(state.parameters, recipe.model, here)
    if arguments.weights is not None:
        arranged = hold(arranged, recipe.model, arguments.weights, here)

    @jax.jit
    def nats(tokens: jax.Array, scored: jax.Array) -> jax.Array:
        return token_losses(arranged, Batch(tokens, scored), recipe.model, here, target_count=1).cross_entropy

    starts = np.arange(0, len(stream) - 1, length)
    starts = np.append(starts, np.full(-len(starts) % AT_ONCE, len(stream)))
    places = starts[:, None] + np.arange(length + 1)
    tokens, scored = stream[np.minimum(places, len(stream) - 1)], places < len(stream)
    total = sum(
        float(nats(tokens[first : first + AT_ONCE], scored[first : first + AT_ONCE]))
        for first in range(0, len(starts), AT_ONCE)
    )
    size = sum(document.size for document in held_out(run))
    figures = {"steps": step, "bytes": size, "bits_a_byte": total / math.log(2) / size}
    if arguments.weights is not None:
        figures |= {"weights": arguments.weights, "perplexity": math.exp(total / (len(stream) - 1))}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
