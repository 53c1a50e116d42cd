"""Outputs of the pipeline: result files, overlay video and display window."""
