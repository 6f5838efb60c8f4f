"""Checks of finished data: a data set of ours down to every byte, or WebDataset tars of others."""
