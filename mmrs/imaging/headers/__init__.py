"""What the first bytes of an image file say, where the libraries that decode it are too slow or do not tell."""
