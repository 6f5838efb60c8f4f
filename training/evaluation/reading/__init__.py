"""What the questions of a batch share is read once: images, and the beginnings of prompts."""
