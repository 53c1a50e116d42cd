"""What moves against the scene: targets too dim for a single frame, found by registering frames a second apart."""
