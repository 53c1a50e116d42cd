"""Where results go: files, overlay video, window."""
