"""Answers in other models' words made answers of ours: which boxes a text holds, where they lie, how ours say them."""
