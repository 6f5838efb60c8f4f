"""A fake AID: painted 600-pixel JPEGs in CamelCase class folders, names in lower case, and a stray ``.DS_Store``."""

from converters.samples.class_folders import ClassFolderSample

write = ClassFolderSample(
    "aid",
    folder="AID",
    file_name=lambda label, number: f"{label.lower()}_{number + 1}.jpg",
    side=600,
    per_class=2,
    junk=("AID/.DS_Store",),
).write
