"""Tests causal attention that keeps its weights."""

import jax
import jax.numpy as jnp
import pytest

from palmetto.model.causal import causal_attention


@pytest.mark.parametrize(("query_rows", "scatters"), [(8, 0), (4, 2)])
def test_gradients_of_all_keys_are_added_without_a_scatter(query_rows: int, scatters: int) -> None:
    """JAX 0.11.2 crashes on a scatter of a whole axis. Of two blocks only the first needs scatters, for dk and dv."""
    q, k = jnp.ones((1, 8, 2, 4)), jnp.ones((1, 8, 4))
    program = jax.make_jaxpr(jax.grad(lambda q: causal_attention(q, k, k, None, query_rows).sum()))(q)
    assert str(program).count("scatter-add") == scatters
