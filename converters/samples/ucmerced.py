"""A fake UC Merced: painted 256-pixel RGB TIFFs in class folders, some a little short, and the stray readmes."""

from converters.samples.class_folders import ClassFolderSample

SHORT_EVERY = 9


def _size(number: int) -> tuple[int, int]:
    return 256, 253 if number % SHORT_EVERY == SHORT_EVERY - 1 or number == 1 else 256


write = ClassFolderSample(
    "ucmerced",
    folder="UCMerced_LandUse/Images",
    file_name=lambda label, number: f"{label}{number:02d}.tif",
    side=256,
    per_class=5,
    sizes=_size,
    list_name="uc_merced",
    junk=("UCMerced_LandUse/readme.txt", "UCMerced_LandUse/readme.txt.bak"),
).write
