"""What a stage trains, and the model that a run starts from."""
