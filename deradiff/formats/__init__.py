"""The files in which people have aligned models: one module per format or per question about it.

Everything here either gives the exact weights or raises `AnchorError`; `deradiff.loading` adds
which anchor it was about.
"""
