"""A fake RSSCN7: painted 400-pixel JPEGs in class folders that start with a letter."""

from converters.samples.class_folders import ClassFolderSample

write = ClassFolderSample(
    "rsscn7",
    folder="",
    file_name=lambda label, number: f"{label[0]}{number + 1:03d}.jpg",
    side=400,
).write
