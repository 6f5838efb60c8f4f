"""A training run from configuration to saved model: loop, checkpoints, held-out loss, signals."""
