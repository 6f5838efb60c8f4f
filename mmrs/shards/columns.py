"""Arrow columns from Python values by way of numpy buffers.

`pyarrow.array` imports pandas, where that is installed, with the first value it is given: 1.4 s of two busy cores and
56 MiB in every process of a build, against 1 MiB here. A test fails once pyarrow no longer does; then this module goes.
Figures: benchmarks/results/2026-11-30-by-hand.json.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_INTEGERS = {pa.int32(): np.int32, pa.int64(): np.int64}
_MOST_BYTES = 2**31 - 1


def column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """The values as a column of int32, int64, string, fixed-size binary, or a list of these; None is a null.

    Raises:
        ValueError: a binary value of another size, more than 2 GiB of text or items, or a kind that is none of these.
    """
    missing = np.array([value is None for value in values], dtype=bool)
    validity = pa.py_buffer(np.packbits(~missing, bitorder="little")) if missing.any() else None
    buffers: list[Any]
    children = None
    if kind in _INTEGERS:
        buffers = [np.array([0 if value is None else value for value in values], dtype=_INTEGERS[kind])]
    elif pa.types.is_string(kind):
        encoded = [b"" if value is None else value.encode() for value in values]
        buffers = [_offsets(encoded), b"".join(encoded)]
    elif pa.types.is_fixed_size_binary(kind):
        buffers = [_joined(values, kind.byte_width)]
    elif pa.types.is_list(kind):
        buffers = [_offsets([() if value is None else value for value in values])]
        children = [column([item for value in values if value is not None for item in value], kind.value_type)]
    else:
        raise ValueError(f"no column of {kind} is made here")
    parts = [validity, *map(pa.py_buffer, buffers)]
    return pa.Array.from_buffers(kind, len(values), parts, null_count=int(missing.sum()), children=children)


def _offsets(parts: Sequence[Sequence[Any]]) -> npt.NDArray[np.int32]:
    ends = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    if ends[-1] > _MOST_BYTES:
        raise ValueError(f"{ends[-1]:,} bytes or items do not fit one column")
    return ends.astype(np.int32)


def _joined(values: Sequence[bytes | None], width: int) -> bytes:
    wrong = next((value for value in values if value is not None and len(value) != width), None)
    if wrong is not None:
        raise ValueError(f"binary value of {len(wrong)} bytes in a column of {width}")
    return b"".join(bytes(width) if value is None else value for value in values)
