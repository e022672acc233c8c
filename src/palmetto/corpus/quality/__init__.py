"""Quality of web text, by its likeness to text that people have chosen (GLaM, arXiv 2112.06905, section 3)."""
