"""The code of a model as files beside its weights."""
