"""DOTA, in the official layout and those that tools made of it."""
