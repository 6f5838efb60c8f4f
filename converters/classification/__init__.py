"""Converters of scene classification sources, one module each."""
