"""EarthGPT as transformers classes: what all share, the model without a head, and the one that answers."""
