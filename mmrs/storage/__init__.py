"""One way to reach a folder, for writers and readers: a folder of this machine or a URL of fsspec."""
