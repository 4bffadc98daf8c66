"""Encodings of pandas' values; pandas is not imported here: whoever passes one has imported it.

A table counts by its columns in order, each with its name, dtype and elements, by its index, and by what is
in its ``attrs``; how pandas keeps them doesn't count.
"""

from __future__ import annotations

import sys
from typing import Any

from .arrays import array_bytes
from .canonical import FAMILIES, Refused, counted, encode, encode_at, enter, named

__all__: list[str] = []


def _pandas(value: Any, above: list[object]) -> bytes | None:
    pd = sys.modules["pandas"]
    kind = type(value)
    if kind is pd.DataFrame or kind is pd.Series or isinstance(value, pd.Index):
        enter(value, above)
        encoded = _labelled(pd, value, above)
        above.pop()
        return encoded
    if value is pd.NaT or value is pd.NA:
        return named("pandas", encode("NaT" if value is pd.NaT else "NA", above))
    if kind is pd.Timestamp:
        held = (value.asm8.view("i8").item(), value.unit, value.fold)
        return named("pandas.Timestamp", encode(held, above) + encode_at(value.tz, above, ".tz"))
    if kind is pd.Timedelta:
        return named("pandas.Timedelta", encode((value.asm8.view("i8").item(), value.unit), above))
    if kind is pd.Period:
        return named("pandas.Period", encode((value.ordinal, value.freqstr), above))
    if kind is pd.Interval:
        ends = encode_at(value.left, above, ".left") + encode_at(value.right, above, ".right")
        return named("pandas.Interval", encode(value.closed, above) + ends)
    if isinstance(value, pd.api.extensions.ExtensionDtype):
        return named("pandas.dtype", _dtype(pd, value, above))
    if isinstance(value, pd.api.extensions.ExtensionArray):
        return named("pandas.array", _column(pd, value, above))
    return None


def _labelled(pd: Any, value: Any, above: list[object]) -> bytes:
    if isinstance(value, pd.Index):
        return named("pandas.Index", _index(pd, value, above, ""))
    index = _index(pd, value.index, above, ".index")
    if isinstance(value, pd.Series):
        held = encode_at(value.name, above, ".name") + _column(pd, value.array, above)
    else:
        columns = []
        for place, label in enumerate(value.columns):
            try:
                columns.append(_column(pd, value.iloc[:, place].array, above))
            except Refused as refused:
                raise refused.at(
                    f"[{label!r}]" if type(label) in (str, int) else f".iloc[:, {place}]"
                ) from None
        held = _index(pd, value.columns, above, ".columns") + counted(b"l", columns)
    more = encode_at(value.attrs, above, ".attrs") + encode(value.flags.allows_duplicate_labels, above)
    return named(f"pandas.{type(value).__name__}", index + held + more)


def _index(pd: Any, index: Any, above: list[object], step: str) -> bytes:
    """Labels by their names, dtypes and elements: a RangeIndex is the index that holds the same numbers."""
    try:
        names = encode_at(tuple(index.names), above, ".names")
        if isinstance(index, pd.MultiIndex):
            levels = [
                _column(pd, index.get_level_values(level).array, above) for level in range(index.nlevels)
            ]
            return names + counted(b"t", levels)
        return names + encode(getattr(index, "freqstr", None), above) + _column(pd, index.array, above)
    except Refused as refused:
        raise refused.at(step) from None


def _column(pd: Any, array: Any, above: list[object]) -> bytes:
    """An array of pandas' by its dtype and elements."""
    np = sys.modules["numpy"]
    dtype = array.dtype
    if isinstance(dtype, np.dtype) or type(array) is pd.arrays.NumpyExtensionArray:
        return encode("numpy", above) + array_bytes(np, np.asarray(array), above)
    said = _dtype(pd, dtype, above)
    if isinstance(dtype, pd.CategoricalDtype):
        return said + array_bytes(np, np.asarray(array.codes, dtype="i8"), above)
    if isinstance(dtype, pd.DatetimeTZDtype | pd.PeriodDtype):
        return said + array_bytes(np, np.asarray(array.asi8), above)
    if isinstance(dtype, pd.IntervalDtype):
        return said + _index(pd, array.left, above, ".left") + _index(pd, array.right, above, ".right")
    missing = np.asarray(array.isna(), dtype=bool)
    if isinstance(dtype, pd.StringDtype):
        return said + encode(
            [None if gone else str(text) for text, gone in zip(array, missing, strict=True)], above
        )
    # What lies under the mask is anything.
    held = array.to_numpy(dtype=dtype.numpy_dtype, na_value=dtype.numpy_dtype.type(0))
    return said + array_bytes(np, missing, above) + array_bytes(np, held, above)


def _dtype(pd: Any, dtype: Any, above: list[object]) -> bytes:
    """A dtype of pandas' own by all that it says; where strings are kept (in Python or pyarrow) doesn't
    count."""
    if isinstance(dtype, pd.CategoricalDtype):
        categories = b"" if dtype.categories is None else _index(pd, dtype.categories, above, ".categories")
        return named("category", encode(dtype.ordered, above) + categories)
    if isinstance(dtype, pd.DatetimeTZDtype):
        return named("datetime", encode(dtype.unit, above) + encode_at(dtype.tz, above, ".tz"))
    if isinstance(dtype, pd.PeriodDtype):
        return named("period", encode(dtype.freq.freqstr, above))
    if isinstance(dtype, pd.IntervalDtype):
        return named("interval", encode((str(dtype.subtype), dtype.closed), above))
    if isinstance(dtype, pd.StringDtype):
        return named("string", encode(dtype.na_value is pd.NA, above))
    if dtype.name in _MASKED and getattr(pd, type(dtype).__name__, None) is type(dtype):
        return named("masked", encode(dtype.name, above))
    raise Refused(
        f"a pandas value of dtype {dtype}",
        "Convert it to a dtype of numpy's, or to one of pandas' own that isn't sparse or Arrow's.",
    )


_MASKED = frozenset(f"{kind}{bits}" for kind in ("Int", "UInt", "Float") for bits in (8, 16, 32, 64)) | {
    "boolean"
}

FAMILIES["pandas"] = _pandas
