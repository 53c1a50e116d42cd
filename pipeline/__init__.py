"""The live system: everything a frame passes through, from capture to the output files."""
