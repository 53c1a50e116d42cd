"""End-to-end tests that run ``run_stream.py``."""
