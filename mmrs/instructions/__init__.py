"""Record -> dialogues: task prompts, the answer grammar, the box dialects, and the symmetries of the square."""
