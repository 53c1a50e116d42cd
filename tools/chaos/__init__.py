"""Fault injection into real runs: ``python -m tools.chaos``."""
