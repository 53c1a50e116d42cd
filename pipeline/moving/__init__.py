"""Motion detection: finds targets too dim for a single frame by comparing it with registered past frames."""
