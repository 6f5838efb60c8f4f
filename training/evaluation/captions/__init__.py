"""Caption metrics: tokens without Java, the scorers of the COCO tools, and what of them needs Java."""
