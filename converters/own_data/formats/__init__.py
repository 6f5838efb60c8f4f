"""How each format of a user's own data is found and read: one module with one `OwnFormat` each, in the registry."""
