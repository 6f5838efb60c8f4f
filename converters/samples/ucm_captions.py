"""A fake UCM-Captions: painted 256-pixel TIFFs numbered from 1."""

from converters.samples.caption_json import CaptionSample

write = CaptionSample(
    image_folder="imgs",
    annotation_file="dataset.json",
    dataset="UCM",
    images={"train": 12, "val": 3, "test": 3},
    side=256,
    file_name=lambda number, _: f"{number + 1}.tif",
    wordless=False,
).write
