"""Speed benchmarks with side-by-side comparisons: see ``python -m tools.benchmark --help``."""
