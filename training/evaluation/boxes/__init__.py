"""Boxes of answers against boxes of records: which was found, and scores of it by named rules."""
