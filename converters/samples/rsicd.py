"""A fake RSICD: painted 224-pixel JPEGs, a quarter of them numbered instead of named by their class."""

from converters.samples.caption_json import CaptionSample

write = CaptionSample(
    image_folder="RSICD_images",
    annotation_file="dataset_rsicd.json",
    dataset="rsicd",
    images={"train": 16, "val": 4, "test": 5},
    side=224,
    file_name=lambda number, name: f"{number:05d}.jpg" if number % 4 == 3 else f"{name}_{number}.jpg",
).write
