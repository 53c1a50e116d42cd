"""Training and evaluation of the networks on still pictures."""
