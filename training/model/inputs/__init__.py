"""What a user hands over, pictures and conversations, as the processor takes it."""
