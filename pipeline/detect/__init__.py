"""From pictures to detections: batching, tiling, network backend, components."""
