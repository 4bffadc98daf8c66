"""numpy's and torch's values: by dtype, shape and elements, wherever and however they lie."""

from __future__ import annotations

import pytest

from dagtree.errors import UnsupportedValueError
from dagtree.identity.canonical import canonical_bytes

np = pytest.importorskip("numpy")


def different(values):
    return len({canonical_bytes(value) for value in values}) == len(values)


def test_numpy_values_that_differ_have_different_bytes():
    structured = np.zeros(2, dtype=[("a", "i4"), ("b", "f8")])
    other = structured.copy()
    other["b"][1] = 1
    assert different(
        [
            1,
            1.0,
            True,
            np.int64(1),
            np.int32(1),
            np.uint8(1),
            np.float32(1),
            np.float64(1),
            np.bool_(True),
            np.float32(0.1),
            np.float64(0.1),
            np.float32(0.1).astype("f8"),
            np.float64(-0.0),
            np.float64(0.0),
            np.float64("nan"),
            np.str_("1"),
            np.bytes_(b"1"),
            np.complex128(1),
            np.complex64(1),
            np.array(1),
            np.array([1]),
            np.array([[1]]),
            np.array([1, 0]),
            np.array([1], dtype="i4"),
            np.array([1.0]),
            np.array([True]),
            np.zeros((0, 3)),
            np.zeros((3, 0)),
            np.zeros(6),
            np.zeros((2, 3)),
            np.zeros((3, 2)),
            np.array([-0.0] * 6),
            np.array(["a"]),
            np.array(["ab"]),
            np.array([b"a"]),
            np.array([1, "a"], dtype=object),
            np.array(["a", 1], dtype=object),
            np.array([[1], None], dtype=object),
            structured,
            other,
            np.datetime64("2020-01-01"),
            np.datetime64("2020-01-01T00"),
            np.timedelta64(1, "s"),
            np.timedelta64(1, "m"),
            np.array(["NaT"], dtype="M8[s]"),
            np.dtype("f4"),
            np.dtype("f8"),
            np.dtype(">f4"),
            np.dtype([("a", "i4")]),
            np.dtype([("b", "i4")]),
            np.dtype(("f4", (2,))),
            np.float32,
            np.float64,
            np.add,
            np.subtract,
            np.linalg.norm,
            np.sum,
        ]
    )


def test_layout_and_byte_order_do_not_count():
    array = np.arange(12, dtype="f8").reshape(3, 4)
    same = [
        array.astype(">f8"),
        np.asfortranarray(array),
        np.ascontiguousarray(array.T).T,
        np.repeat(array, 2, axis=1)[:, ::2],
        array[::-1][::-1],
        np.frombuffer(array.tobytes()).reshape(3, 4),
    ]
    assert {canonical_bytes(one) for one in same} == {canonical_bytes(array)}
    assert canonical_bytes(array.T) != canonical_bytes(array)
    assert canonical_bytes(array.T.copy()) == canonical_bytes(array.T)
    assert canonical_bytes(np.array(["ab"], dtype=">U2")) == canonical_bytes(np.array(["ab"], dtype="<U2"))


def test_encoding_an_array_leaves_it_alone():
    array = np.frombuffer(b"\x01\x00\x00\x00\x00\x00\xf8\x7f" * 2)
    before = array.tobytes()
    assert canonical_bytes(array) == canonical_bytes(np.array([np.nan, np.nan]))
    assert array.tobytes() == before


def test_all_nan_are_one_value_in_arrays_too():
    assert canonical_bytes(np.array([complex(1, -np.nan)])) == canonical_bytes(np.array([complex(1, np.nan)]))
    assert canonical_bytes(np.array([complex(-np.nan, 1)])) != canonical_bytes(np.array([complex(1, np.nan)]))
    assert canonical_bytes(np.float16("nan")) == canonical_bytes(-np.float16("nan"))


def test_padding_between_fields_does_not_count():
    kind = np.dtype([("a", "i1"), ("b", "i8")], align=True)
    one, other = (
        np.frombuffer(bytes(16), dtype=kind),
        np.frombuffer(b"\0" + b"\xff" * 7 + bytes(8), dtype=kind),
    )
    assert canonical_bytes(one) == canonical_bytes(other)


def test_arrays_that_hold_more_than_an_array_are_refused():
    class Marked(np.ndarray):
        pass

    for value in (
        np.zeros(2).view(Marked),
        np.ma.array([1, 2], mask=[0, 1]),
        np.random.default_rng(0),
        np.longdouble(1),
        np.zeros(2, dtype="g"),
    ):
        with pytest.raises(UnsupportedValueError):
            canonical_bytes(value)
    with pytest.raises(UnsupportedValueError) as caught:
        canonical_bytes({"a": np.array([1, object()], dtype=object)})
    assert caught.value.path == "value['a'][1]"


@pytest.fixture(scope="module")
def torch():
    torch = pytest.importorskip("torch")
    pytest.importorskip("torch.nn.utils.prune")
    return torch


def test_torch_values_that_differ_have_different_bytes(torch):
    assert different(
        [
            torch.tensor(1),
            torch.tensor([1]),
            torch.tensor([[1]]),
            torch.tensor(1.0),
            torch.tensor(1.0, dtype=torch.float64),
            torch.tensor(True),
            torch.tensor(1.0, dtype=torch.bfloat16),
            torch.tensor(1.0, dtype=torch.float16),
            torch.tensor(-0.0),
            torch.tensor(0.0),
            torch.tensor(float("nan")),
            torch.zeros(2, 3),
            torch.zeros(3, 2),
            torch.zeros(6),
            torch.zeros(0),
            torch.zeros(0, 2),
            torch.tensor(1j),
            torch.nn.Parameter(torch.tensor(1.0)),
            np.array(1.0, dtype="f4"),
            torch.float32,
            torch.float64,
            torch.device("cpu"),
            torch.device("cuda"),
            torch.device("cuda:1"),
            torch.Size([1, 2]),
            torch.Size([2, 1]),
            (1, 2),
            torch.strided,
            torch.contiguous_format,
            torch.relu,
            torch.sigmoid,
            torch.nn.functional.relu,
            torch.nn.functional.gelu,
            torch.nn.Linear,
            torch.nn.Conv1d,
            torch.optim.SGD,
            torch.nn.utils.prune.l1_unstructured,
            torch.nn.utils.prune.random_unstructured,
            torch.Tensor.add,
            torch.Tensor.sub,
            torch.add,
            torch.sub,
        ]
    )


def test_how_a_tensor_lies_does_not_count(torch):
    tensor = torch.arange(12.0).reshape(3, 4)
    same = [
        tensor.t().contiguous().t(),
        tensor.clone().requires_grad_(),
        tensor.repeat_interleave(2, 1)[:, ::2],
        tensor[None][0],
        (tensor * -1).neg(),
    ]
    assert {canonical_bytes(one) for one in same} == {canonical_bytes(tensor)}
    imaginary = torch.tensor([1 + 2j])
    assert canonical_bytes(imaginary.conj()) == canonical_bytes(torch.tensor([1 - 2j]))
    assert canonical_bytes(imaginary.conj().imag) == canonical_bytes(torch.tensor([-2.0]))
    assert canonical_bytes(torch.tensor([float("nan")])) == canonical_bytes(-torch.tensor([float("nan")]))


def test_tensors_without_plain_elements_are_refused(torch):
    for value in (torch.eye(2).to_sparse(), torch.empty(2, device="meta")):
        with pytest.raises(UnsupportedValueError, match="tensor"):
            canonical_bytes(value)
    for value in (torch.nn.Linear(1, 1), torch.Generator()):
        with pytest.raises(UnsupportedValueError, match="register_encoding"):
            canonical_bytes(value)


def test_small_floats_have_bytes_too(torch):
    kinds = [
        kind for name in ("float8_e4m3fn", "float8_e5m2") if (kind := getattr(torch, name, None)) is not None
    ]
    assert different(
        [torch.tensor([1.0, 2.0]).to(kind) for kind in kinds]
        + [torch.tensor([1.0, 3.0]).to(kind) for kind in kinds]
    )
