"""The live page: overlays in a browser."""
