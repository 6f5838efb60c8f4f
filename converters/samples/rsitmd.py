"""A fake RSITMD: painted 256-pixel TIFFs, sentences mixed in case and in their last blank and full stop."""

from converters.samples.caption_json import CaptionSample

write = CaptionSample(
    image_folder="images",
    annotation_file="dataset_RSITMD.json",
    dataset="RSITMD",
    images={"train": 12, "test": 4},
    side=256,
    file_name=lambda number, name: f"{name}_{number}.tif",
    mixed_text=True,
).write
