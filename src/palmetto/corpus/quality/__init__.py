"""Scores web text by its similarity to curated text (GLaM, arXiv 2112.06905, section 3)."""
