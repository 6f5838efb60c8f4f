"""A page to ask a model about an image: upload or pick, press a task, drag a box, take the boxes home."""
