"""Conversations and texts for trainers of vision-language models: one module per format."""
