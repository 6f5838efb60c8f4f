"""Commands of training and evaluation: each parses, calls one function and prints."""
