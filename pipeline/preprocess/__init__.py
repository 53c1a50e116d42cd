"""Measurements of a frame before the network runs: intensity statistics and ego-motion."""
