"""A fake CLRS: painted 256-pixel TIFFs; folder and file names are guesses, as the real ones are not known."""

from converters.samples.class_folders import ClassFolderSample

write = ClassFolderSample(
    "clrs",
    folder="CLRS",
    file_name=lambda label, number: f"{label}_{number + 1}.tif",
    side=256,
    per_class=2,
).write
