"""From documents to batches: vocabulary, packing, store and order."""
