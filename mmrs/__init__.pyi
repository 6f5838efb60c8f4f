"""Types of the public names, which the package loads when they are first asked for."""

from mmrs.data_set.data_set import DataSet as DataSet
from mmrs.data_set.data_set import open_data_set as open
from mmrs.data_set.sample import Sample as Sample
from mmrs.data_set.stream import SampleStream as SampleStream

__all__ = ["DataSet", "Sample", "SampleStream", "open"]
__version__: str
