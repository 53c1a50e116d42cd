"""Scoring of predicted masks."""
