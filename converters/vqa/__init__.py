"""Visual question answering sources, one module each."""
