"""Turns documents into batches of tokens: vocabulary, packing, store and order."""
