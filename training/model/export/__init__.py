"""A trained model in the forms that others use, with its card."""
