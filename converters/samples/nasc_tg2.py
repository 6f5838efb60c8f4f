"""A fake NaSC-TG2: painted 128-pixel JPEGs; folder and file names are guesses, as the real ones are not known."""

from converters.samples.class_folders import ClassFolderSample

write = ClassFolderSample(
    "nasc-tg2",
    folder="NaSC-TG2",
    file_name=lambda label, number: f"{number + 1:04d}.jpg",
    side=128,
).write
