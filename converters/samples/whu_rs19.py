"""A fake WHU-RS19: painted 600-pixel JPEGs in class folders, two of them with a small initial."""

from converters.samples.class_folders import ClassFolderSample

write = ClassFolderSample(
    "whu-rs19",
    folder="WHU-RS19",
    file_name=lambda label, number: f"{label.lower()}_{number + 1:02d}.jpg",
    side=600,
    per_class=3,
).write
