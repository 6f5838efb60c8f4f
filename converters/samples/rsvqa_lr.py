"""A fake RSVQA-LR: painted 256-pixel TIFFs."""

from converters.samples.rsvqa import RsvqaSample

write = RsvqaSample("LR", {"train": 8, "val": 2, "test": 3}, "Images_LR", 256, "S2").write
