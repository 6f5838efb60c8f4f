"""Converters of captioning sources, one module each."""
