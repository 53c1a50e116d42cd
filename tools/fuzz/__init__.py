"""Fuzzing of everything that reads untrusted bytes: ``python -m tools.fuzz``."""
