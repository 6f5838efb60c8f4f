"""A fake NWPU-Captions: painted 256-pixel JPEGs in class folders, rows by class with ``raw`` to ``raw_4``."""

from converters.samples.caption_json import CaptionSample

write = CaptionSample(
    image_folder="NWPU_images",
    annotation_file="dataset_nwpu.json",
    dataset="nwpu",
    images={"train": 14, "val": 3, "test": 3},
    side=256,
    file_name=lambda number, name: f"{name}_{number + 1:03d}.jpg",
    by_class=True,
).write
