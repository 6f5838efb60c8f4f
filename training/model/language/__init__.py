"""Language models: one file each, and the vectors that tune them. Importing the package makes those known it has."""

from training.model.language import gemma, llama, mistral, phi, qwen, smollm

__all__ = ["gemma", "llama", "mistral", "phi", "qwen", "smollm"]
