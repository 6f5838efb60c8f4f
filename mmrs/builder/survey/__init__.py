"""Survey: what is on disk for a recipe, and what of it nothing reads. Nothing is decoded or written."""
