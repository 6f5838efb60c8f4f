"""A model that answers: one engine, and what asks it: a terminal, files of images, a server."""
