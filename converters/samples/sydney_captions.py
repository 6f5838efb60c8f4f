"""A fake Sydney-Captions: painted 500-pixel TIFFs numbered from 1."""

from converters.samples.caption_json import CaptionSample

write = CaptionSample(
    image_folder="imgs",
    annotation_file="dataset.json",
    dataset="Sydney",
    images={"train": 8, "val": 2, "test": 2},
    side=500,
    file_name=lambda number, _: f"{number + 1}.tif",
    wordless=False,
).write
