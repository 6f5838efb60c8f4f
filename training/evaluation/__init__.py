"""Evaluation: questions from a split, greedy answers from the model, scores, a picture."""
