"""Commands that need the sources: each parses, calls one function and prints."""
