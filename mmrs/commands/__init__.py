"""Commands of the data core: each parses, calls one function and prints. Nothing heavy is imported before it runs."""
