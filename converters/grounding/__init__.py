"""Converters of visual grounding sources, one module each."""
