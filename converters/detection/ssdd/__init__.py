"""SSDD, in the official release and the layouts made of it."""
