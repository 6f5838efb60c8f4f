"""A fake NWPU-RESISC45: painted 256-pixel JPEGs in class folders."""

from converters.samples.class_folders import ClassFolderSample

write = ClassFolderSample(
    "resisc45",
    folder="NWPU-RESISC45",
    file_name=lambda label, number: f"{label}_{number + 1:03d}.jpg",
    side=256,
    list_name="resisc45",
    per_class=3,
).write
