"""What a step minimises: token losses, what weighs alike, what teaches the image side beside the text."""
