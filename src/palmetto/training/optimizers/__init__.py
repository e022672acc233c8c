"""The optimizers, one module each, which recipes select by name (recipe/optimizers.py)."""
