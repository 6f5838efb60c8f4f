"""Two runs on the same questions side by side."""
