"""Percentiles over blocks equal numpy's over the whole array, for every type."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mmrs.imaging.percentiles import percentiles

SHARES = (0, 0.5, 2, 50, 98, 99.5, 100)
TYPES = (np.uint8, np.uint16, np.int16, np.uint32, np.int32, np.float32)


@pytest.mark.parametrize("dtype", TYPES)
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_equal_to_numpy(dtype, data):
    elements = {"allow_nan": False, "allow_infinity": False} if dtype is np.float32 else {}
    values = data.draw(
        arrays.arrays(dtype, st.integers(1, 60), elements=arrays.from_dtype(np.dtype(dtype), **elements))
    )
    cut = data.draw(st.integers(0, len(values)))
    found = [share.value() for share in percentiles(lambda: [values[:cut], values[cut:]], SHARES)]
    np.testing.assert_allclose(found, np.percentile(values.astype(np.float64), SHARES), rtol=1e-9, atol=1e-30)


def test_a_scale_is_applied_before_the_interpolation():
    values = np.array([1, 100], np.uint16)
    (median,) = percentiles(lambda: [values], [50])
    assert median.value(np.log10) == pytest.approx(1.0)
    assert (median.below, median.above, median.share) == (1, 100, 0.5)


def test_no_value_has_no_percentile():
    assert percentiles(lambda: [], [50]) == ()
    assert percentiles(lambda: [np.empty(0, np.float32)], [50]) == ()
