"""Image encoders: one file each, and what runs them. Importing the package makes those known that it has."""

from training.model.vision import clip, convnext, dinov2, dinov3, dinov3_convnext, siglip, siglip2

__all__ = ["clip", "convnext", "dinov2", "dinov3", "dinov3_convnext", "siglip", "siglip2"]
