"""Multi-target tracking: Kalman filter, gating, assignment and track life cycle."""
