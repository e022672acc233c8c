"""The optimizers, a file each; recipes find them by their names (recipe/optimizers.py)."""
