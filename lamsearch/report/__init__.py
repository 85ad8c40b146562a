"""Summary → table and figure. Nothing here computes; `lamsearch.summary` does."""
