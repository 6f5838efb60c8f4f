"""Image encoders: one file each, and what runs them. Importing the package makes those known that it has."""

from training.model.vision import convnext, dinov2, siglip

__all__ = ["convnext", "dinov2", "siglip"]
