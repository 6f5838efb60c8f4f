"""What a model was made of and trained on: kept in its configuration, told by its card."""
