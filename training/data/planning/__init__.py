"""Which packs a run sees and in which order: pure functions of the side indexes. No image is opened here."""
