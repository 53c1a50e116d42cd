"""Target detection in single frames: batching, tiling, network backends and connected components."""
