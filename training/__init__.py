"""Training and evaluation of the segmentation networks on still pictures."""
