"""Scripts to read and run. The benchmarks are a package: `python -m examples.benchmarks.NAME`."""
