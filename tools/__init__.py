"""Command-line tools beside the pipeline."""
