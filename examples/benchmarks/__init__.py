"""The measurements that the README and the docs quote.

Run each from the project's root as `python -m examples.benchmarks.NAME`:

| name | measures |
|---|---|
| `search` | regret of the search and of its peers on curves whose maximum is known |
| `rounding` | what rounding the proposals changed in the stored figures of `search` |
| `images` | where to spend images: fixed plan, rotating plan, or as the search decides |
| `seeds` | regret of real searches in the bundled world |
| `forward_share` | the share of a search's run time that the denoisers take |
| `startup` | processor time of the commands until they do something |
| `votes` | how well votes find people's λ*, with simulated raters |
| `busy` | the search beside another busy process |
"""
