"""Language models: one file each, and the vectors that tune them. Importing the package makes those known it has."""

from training.model.language import llama, qwen

__all__ = ["llama", "qwen"]
