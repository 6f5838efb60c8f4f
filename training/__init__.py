"""Training, evaluation and serving of EarthGPT models. Knows `mmrs` and nothing of `converters`."""
