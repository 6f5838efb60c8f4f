"""Boxes for detectors and viewers: one module per format."""
