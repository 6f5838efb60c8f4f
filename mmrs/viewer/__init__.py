"""A data set in a browser: found by its indexes, shown by offset from its tars, on this machine alone."""
