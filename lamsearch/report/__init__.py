"""Summary → table and figure. Nothing here computes; `lamsearch.report.summary` does."""
