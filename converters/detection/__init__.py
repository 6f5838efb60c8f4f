"""Converters of detection sources, one module each."""
