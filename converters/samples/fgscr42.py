"""A fake FGSCR-42: painted BMP crops of ships of different sizes in numbered class folders."""

from converters.samples.class_folders import ClassFolderSample
from converters.samples.ships import LARGEST, crop_size, paint_ship

write = ClassFolderSample(
    "fgscr42",
    folder="FGSCR-42",
    file_name=lambda label, number: f"{number + 1}.bmp",
    side=LARGEST,
    sizes=crop_size,
    paint=paint_ship,
).write
