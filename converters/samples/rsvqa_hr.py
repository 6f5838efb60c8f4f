"""A fake RSVQA-HR, its two test splits: painted 512-pixel TIFFs, areas asked for, double blanks in questions."""

from converters.samples.rsvqa import RsvqaSample

write = RsvqaSample("USGS", {"test": 4, "test_phili": 3}, "Data", 512, "USGS", areas=True).write
