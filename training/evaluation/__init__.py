"""Evaluation: questions of a split, answers of a model or of anybody, scores by named protocols, a picture."""
