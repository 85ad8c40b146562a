"""The paper's experiments (arXiv 2601.20198), and an exact world to understand them by."""
