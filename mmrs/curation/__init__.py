"""Curation of a finished data set: copies across sources and splits, the leakage guard, checks of text and boxes."""
