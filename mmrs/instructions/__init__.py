"""Record -> dialogues: task prompts, the answer grammar, and the box dialects (format and parse)."""
