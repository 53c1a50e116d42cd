"""Intensity and ego-motion: what is known of a frame before the network sees it."""
