"""How one file, or a range of it, comes over each protocol: one module each, and the bounds that hold for all."""
