"""From detections to tracks: Kalman filter, gating, assignment, life cycle."""
