"""An encoder and a decoder that the project does not have, each added by one file."""
