"""A folder of a stranger's data -> the description under which most of it is understood."""
