"""How fast everything is, side by side in one run: see ``python -m tools.benchmark --help``."""
