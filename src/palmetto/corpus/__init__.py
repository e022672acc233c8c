"""Documents: where the text comes from."""
