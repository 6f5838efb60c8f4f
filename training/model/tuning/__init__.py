"""What is added to a model to train it: vectors or low-rank adapters, and the names of what learns."""
