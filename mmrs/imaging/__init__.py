"""Image files: probe a header, check and encode what is stored, render to 8 bits, read windows of large scenes."""
