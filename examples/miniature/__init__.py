"""How the bundled miniature world was made: `python -m examples.miniature.build`."""
