"""Runs of the real front door."""
