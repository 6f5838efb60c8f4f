"""What a step minimises: token losses, what weighs alike, spread coordinates, and what teaches the image side."""
