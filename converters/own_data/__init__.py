"""Data of the user's own behind a short description file: label files of many tools, tables, class folders."""
