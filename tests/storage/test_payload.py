"""A state's content comes back equal, and what shared memory shares it again."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import tracemalloc
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils import parametrizations, parametrize

from dagtree.errors import UnsavableError
from dagtree.storage.payload import Payload
from dagtree.storage.sameness import essence_of

DTYPES = (torch.bfloat16, torch.float16, torch.int8, torch.bool, torch.uint8, torch.int64, torch.complex64)
ODD_DTYPES = (torch.complex128, torch.float8_e4m3fn, torch.float8_e5m2, torch.uint16)


def back(content: dict[str, Any], copy: bool = True) -> dict[str, Any]:
    return Payload.dump(content).load(copy)


def digests(content: dict[str, Any]) -> list[tuple[str, str]]:
    return [(buffer.name, buffer.digest) for buffer in Payload.dump(content).buffers]


def trained_model() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        OrderedDict(
            layers=torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3)),
            out=torch.nn.Linear(3, 3),
        )
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    model(torch.randn(8, 4)).sum().backward()
    optimizer.step()
    return model, optimizer


@pytest.mark.parametrize(
    "value", [None, True, 3, 0.1, float("inf"), "é", b"\xff", (1, [2, {"a": {3}}]), 1 << 200]
)
def test_plain_values_come_back(value: object) -> None:
    """With and without the fast path."""
    assert back({"x": value}) == {"x": value}
    assert back({"x": value, "y": [value]}) == {"x": value, "y": [value]}


def test_attributes_keep_their_order() -> None:
    assert list(back({"b": 1, "a": [2], "c": 3})) == ["b", "a", "c"]
    assert back({}) == {}


@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize("dtype", DTYPES + ODD_DTYPES, ids=str)
def test_tensors_of_any_type_come_back(dtype: torch.dtype, copy: bool) -> None:
    tensor = torch.arange(12).reshape(3, 4).to(dtype)
    found = back({"t": tensor}, copy)["t"]
    assert found.dtype == dtype
    assert found.shape == (3, 4)
    assert torch.equal(found.contiguous().view(torch.uint8), tensor.view(torch.uint8))


@pytest.mark.filterwarnings("ignore")  # torch warns that some of these kinds are new and some old
@pytest.mark.parametrize("copy", [True, False])
def test_odd_tensors_come_back(copy: bool) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    content = {
        "zero": torch.zeros(0, 3),
        "scalar": torch.tensor(3.5),
        "strided": base[::2, 1::2],
        "transposed": base.T,
        "sparse": torch.eye(3).to_sparse(),
        "csr": torch.eye(3).to_sparse_csr(),
        "quantized": torch.quantize_per_tensor(base, 0.1, 3, torch.qint8),
        "conjugate": torch.tensor([1 + 2j]).conj(),
        "grad": torch.ones(2, requires_grad=True),
        "meta": torch.ones(2, device="meta"),
        "nan": torch.tensor([float("nan"), -0.0]),
    }
    found = back(content, copy)
    for name in ("zero", "scalar", "strided", "transposed", "conjugate", "grad"):
        assert torch.equal(found[name], content[name]), name
    assert found["strided"].stride() == content["strided"].stride()
    assert found["grad"].requires_grad
    assert torch.equal(found["sparse"].to_dense(), torch.eye(3))
    assert torch.equal(found["csr"].to_dense(), torch.eye(3))
    assert torch.equal(found["quantized"].int_repr(), content["quantized"].int_repr())
    assert found["meta"].is_meta
    assert torch.equal(found["nan"].view(torch.int32), content["nan"].view(torch.int32))


@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_tensors_come_back(copy: bool) -> None:
    parts = [torch.randn(3, 4), torch.randn(5, 4)]
    found = back({"nested": torch.nested.nested_tensor(parts)}, copy)["nested"]
    assert all(map(torch.equal, found.unbind(), parts))


@pytest.mark.parametrize("copy", [True, False])
def test_tied_weights_stay_tied(copy: bool) -> None:
    first, second = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
    second.weight = first.weight
    found = back({"first": first, "second": second}, copy)
    assert found["first"].weight is found["second"].weight
    with torch.no_grad():
        found["first"].weight.fill_(7)
    assert found["second"].weight[0, 0] == 7


@pytest.mark.parametrize("copy", [True, False])
def test_views_stay_views_of_one_storage(copy: bool) -> None:
    base = torch.arange(10.0)
    found = back({"base": base, "part": base[2:5], "inside": [base.view(2, 5).T]}, copy)
    found["base"][3] = -1
    assert found["part"][1] == -1
    assert found["inside"][0][3, 0] == -1
    assert len(Payload.dump({"base": base, "part": base[2:5]}).buffers) == 1


@pytest.mark.parametrize("copy", [True, False])
def test_an_optimizer_keeps_pointing_at_its_parameters(copy: bool) -> None:
    model, optimizer = trained_model()
    found = back({"optimizer": optimizer, "model": model}, copy)
    theirs = [parameter for group in found["optimizer"].param_groups for parameter in group["params"]]
    assert all(one is other for one, other in zip(theirs, found["model"].parameters(), strict=True))
    before = found["model"].out.weight.detach().clone()
    found["model"](torch.ones(2, 4)).sum().backward()
    found["optimizer"].step()
    assert not torch.equal(found["model"].out.weight, before)


def test_buffers_and_hidden_state_of_a_model_come_back() -> None:
    model, optimizer = trained_model()
    found = back({"model": model, "optimizer": optimizer})
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), found["model"].buffers(), strict=True))
    assert found["optimizer"].state_dict()["state"][0]["step"] == 1
    assert found["model"].training


def test_a_pruned_module_comes_back() -> None:
    from torch.nn.utils import prune

    layer = torch.nn.Linear(4, 4)
    prune.l1_unstructured(layer, "weight", amount=0.5)
    found = back({"layer": layer})["layer"]
    assert torch.equal(found.weight_mask, layer.weight_mask)
    assert torch.equal(found(torch.ones(1, 4)), layer(torch.ones(1, 4)))


ARRAYS = {
    "plain": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "reversed": np.arange(6)[::-1],
    "strided": np.arange(20)[::3],
    "big endian": np.arange(3, dtype=">i4"),
    "structured": np.array([(1, 2.5), (3, 4.5)], dtype=[("a", "i8"), ("b", "f4")]),
    "empty": np.zeros((0, 3)),
    "scalar": np.array(3.5),
    "object": np.array([1, "a", None, [2]], dtype=object),
    "text": np.array(["ab", "é"]),
    "dates": np.array(["2020-01-01", "NaT"], dtype="datetime64[D]"),
    "half": np.ones(3, dtype=np.float16),
    "complex": np.ones(3, dtype=np.complex64) * 1j,
    "void": np.zeros(2, dtype="V0"),
}


class Symmetric(torch.nn.Module):
    """A parametrization that can be assigned to."""

    def forward(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.triu() + tensor.triu(1).T

    def right_inverse(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.triu()


def _symmetric(layer: torch.nn.Linear) -> torch.nn.Module:
    return parametrize.register_parametrization(layer, "weight", Symmetric())


@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize(
    "parametrized",
    [parametrizations.weight_norm, parametrizations.spectral_norm, parametrizations.orthogonal, _symmetric],
)
def test_a_parametrized_module_comes_back_and_goes_on(parametrized: Any, copy: bool) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), parametrized(torch.nn.Linear(4, 4)))
    dumped = Payload.dump({"model": model})
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    back = Payload.dump(dumped.load()).load(copy)["model"]  # also once more
    assert "model.1.parametrizations.weight.original" in " ".join(buffer.name for buffer in dumped.buffers)
    assert list(back.state_dict()) == list(expected)
    assert all(torch.equal(value, expected[name]) for name, value in back.state_dict().items())
    assert parametrize.is_parametrized(back[1], "weight")
    assert type(back[1]).__name__ == "ParametrizedLinear"
    batch = torch.ones(2, 4)
    assert torch.equal(back.eval()(batch), model.eval()(batch))
    torch.optim.SGD(back.parameters(), lr=0.1).zero_grad()
    back(batch).sum().backward()
    weight = back[1].weight.detach()
    parametrize.remove_parametrizations(back[1], "weight")
    assert type(back[1]) is torch.nn.Linear
    assert torch.equal(back[1].weight, weight)


def test_a_parametrized_tensor_that_came_back_can_be_assigned_to() -> None:
    back = Payload.dump({"layer": _symmetric(torch.nn.Linear(2, 2))}).load()["layer"]
    back.weight = torch.tensor([[1.0, 2.0], [2.0, 3.0]])
    assert back.weight.tolist() == [[1, 2], [2, 3]]


@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_back(name: str, copy: bool) -> None:
    array = ARRAYS[name]
    found = back({"array": array}, copy)["array"]
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    if name != "void":
        np.testing.assert_array_equal(found, array)


def test_an_array_that_is_read_only_stays_so_and_others_can_be_written() -> None:
    frozen = np.arange(3)
    frozen.flags.writeable = False
    found = back({"frozen": frozen, "free": np.arange(3)})
    assert not found["frozen"].flags.writeable
    found["free"][0] = 9
    assert found["free"].flags.owndata


@pytest.mark.parametrize("copy", [True, False])
def test_arrays_that_share_memory_share_it_again(copy: bool) -> None:
    base = np.arange(20.0).reshape(4, 5)
    found = back({"base": base, "row": base[1], "back": [base[::-1, ::2]], "alone": np.arange(3)}, copy)
    found["base"][1, 0] = -1
    assert found["row"][0] == -1
    assert found["back"][0][2, 0] == -1


def test_an_array_that_lies_in_memory_of_another_is_taken_over_as_itself() -> None:
    array = np.ndarray((9,), np.float64, buffer=bytearray(72))
    content = {"all": array, "part": array[::-1]}
    dumped = Payload.dump(content)
    assert dumped.load(copy=False)["all"] is array
    again = Payload.dump(dumped.load(copy=False))
    assert essence_of(again.skeleton) == essence_of(dumped.skeleton)


def test_a_small_view_of_a_large_array_is_kept_alone() -> None:
    assert Payload.dump({"part": np.zeros(1_000_000)[:10]}).size_bytes < 2000


def test_subclasses_of_arrays_come_back() -> None:
    masked = np.ma.masked_array([1, 2, 3], mask=[False, True, False])
    found = back({"masked": masked})["masked"]
    assert found.tolist() == [1, None, 3]


def test_a_loaded_copy_shares_no_memory_with_the_live_state() -> None:
    content = {"t": torch.zeros(5), "a": np.zeros(5), "m": torch.nn.Linear(2, 2), "b": bytearray(b"abc")}
    payload = Payload.dump(content)
    first, second = payload.load(), payload.load()
    for loaded in (first, second):
        loaded["t"].fill_(1)
        loaded["a"].fill(1)
        loaded["b"][0] = 0
    assert content["t"].sum() == 0
    assert content["a"].sum() == 0
    assert content["b"] == b"abc"
    assert first["t"].data_ptr() != second["t"].data_ptr()
    assert not np.shares_memory(first["a"], second["a"])


def test_a_copied_tensor_can_grow() -> None:
    """As any tensor of torch's own can, and one in borrowed memory can't."""
    assert back({"t": torch.zeros(5)})["t"].resize_(500).shape == (500,)


def test_the_last_taker_may_have_the_memory_itself() -> None:
    content = {"t": torch.zeros(5), "a": np.zeros(5)}
    found = back(content, copy=False)
    assert found["t"].data_ptr() == content["t"].data_ptr()
    assert np.shares_memory(found["a"], content["a"])


def test_dumping_copies_no_storage_that_the_cpu_can_reach() -> None:
    content = {"t": torch.zeros(25_000_000), "a": np.zeros(2_000_000)}
    tracemalloc.start()
    payload = Payload.dump(content)
    digest = [buffer.digest for buffer in payload.buffers]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert payload.size_bytes > 116_000_000
    assert len(digest) == 2
    assert peak < 1_000_000
    assert payload.buffers[0].memory.data_ptr() == content["t"].data_ptr()  # type: ignore[union-attr]


def test_the_same_content_has_the_same_buffer_digests() -> None:
    model, optimizer = trained_model()
    content = {"model": model, "optimizer": optimizer, "a": np.arange(9.0)[::2], "t": torch.ones(3)[1:]}
    once = digests(content)
    assert once == digests(content)
    assert once == digests(back(content))
    assert once == digests(back(content, copy=False))


def test_other_content_has_other_digests() -> None:
    """Type and shape are content, not the bytes alone."""
    tensors = [
        torch.zeros(4),
        torch.zeros(2, 2),
        torch.zeros(4, dtype=torch.int32),
        torch.tensor([0.0, 0.0, 0.0, -0.0]),
        torch.zeros(8, dtype=torch.int16),
    ]
    assert len({digests({"t": tensor})[0] for tensor in tensors}) == len(tensors)


def test_tensors_have_the_names_that_the_model_gives_them() -> None:
    model, optimizer = trained_model()
    payload = Payload.dump(
        {
            "net": model,
            "optimizer": optimizer,
            "table": torch.ones(2, 3),
            "parts": {"a": np.ones(2)},
            "x": {1: {2: 3}},
        }
    )
    described = {buffer.name: (buffer.dtype, buffer.shape) for buffer in payload.buffers}
    assert described["net.layers.0.weight"] == ("F32", (3, 4))
    assert described["net.layers.1.running_mean"] == ("F32", (3,))
    assert described["net.layers.1.num_batches_tracked"] == ("I64", ())
    assert described["table"] == ("F32", (2, 3))
    assert described["parts.a"] == ("F64", (2,))
    assert "optimizer.0" in described
    assert len(described) == len(payload.buffers)


@pytest.mark.parametrize(
    ("value", "word"),
    [(threading.Lock(), "lock"), ((n for n in ()), "generator"), ([{"deep": threading.Lock()}], "lock")],
)
def test_what_cannot_be_pickled_is_refused_by_name(value: object, word: str) -> None:
    with pytest.raises(UnsavableError) as caught:
        Payload.dump({"fine": 3, "handle": value, "also": [1]})
    assert caught.value.attribute == "handle"
    assert "'handle'" in str(caught.value)
    assert word in str(caught.value)
    assert "_handle" in str(caught.value)


def test_a_class_that_fails_to_pickle_itself_is_refused_by_name() -> None:
    class Broken:
        def __reduce__(self) -> Any:
            raise ZeroDivisionError("boom")

    with pytest.raises(UnsavableError, match=r"'broken'.*boom"):
        Payload.dump({"broken": Broken()})


def test_users_buffers_out_of_band_come_back() -> None:
    memory = bytearray(range(250))
    for copy in (True, False):
        found = back({"b": [pickle.PickleBuffer(memory)]}, copy)["b"][0]
        assert bytes(found) == memory


def test_a_lambda_and_a_local_class_come_back() -> None:
    class Local:
        def __init__(self) -> None:
            self.weights = np.arange(3)
            self.twice = lambda x: 2 * x

    found = back({"local": Local(), "add": lambda a, b: a + b})
    assert found["local"].twice(4) == 8
    assert found["add"](1, 2) == 3
    assert found["local"].weights.tolist() == [0, 1, 2]


def run_script(text: str, *arguments: object) -> str:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_classes_of_main_travel_to_a_process_that_lacks_them(tmp_path: Path) -> None:
    write = """
        import sys, torch
        from dagtree.storage.local import LocalStore
        from dagtree.storage.payload import Payload
        from dagtree.testing import make_record
        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.out = torch.nn.Linear(2, 2)
            def answer(self):
                return 42
        LocalStore(sys.argv[1]).write(make_record(), Payload.dump({"net": Net()}))
    """
    read = """
        import sys
        from dagtree.storage.local import LocalStore
        from dagtree.testing import make_record
        net = LocalStore(sys.argv[1]).read(make_record().key).load()["net"]
        print(type(net).__name__, net.answer(), net.out.weight.shape[0])
    """
    run_script(write, tmp_path / "x")
    assert run_script(read, tmp_path / "x") == "Net 42 2"


def test_torch_and_numpy_are_loaded_only_by_a_payload_that_needs_them() -> None:
    script = """
        import sys
        from dagtree.storage.local import LocalStore
        from dagtree.storage.payload import Payload
        assert Payload.dump({"x": 3, "y": [1, {"a": (2,)}]}).load()["y"] == [1, {"a": (2,)}]
        print([name for name in ("torch", "numpy", "distributed", "networkx", "dask") if name in sys.modules])
    """
    assert run_script(script) == "[]"


def test_a_tensor_of_a_device_that_this_machine_lacks_comes_back_on_the_cpu() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has the device")
    from dagtree.storage import rebuild

    buffer = Payload.dump({"t": torch.arange(3.0)}).buffers[0]
    storage = rebuild.storage(rebuild.Lent(buffer, True), "cuda:0")
    assert storage.device.type == "cpu"
    assert torch.tensor([], dtype=torch.float32).set_(storage).tolist() == [0, 1, 2]


def test_code_by_value_for_another_python_is_refused_and_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytecode of another version crashes the interpreter."""
    from dagtree.storage import scripts

    payload = Payload.dump({"f": lambda x: x + 1, "n": 1})
    assert payload.load()["f"](1) == 2
    monkeypatch.setattr(scripts, "PYTHON", b"Python 2.7\n")
    with pytest.raises(ImportError, match="Python 3"):
        payload.load()


def test_tensors_that_are_more_than_their_storage_are_taken_apart_as_torch_does() -> None:
    """Plain tensors go a shorter way; it must not lose what others have."""
    noted = torch.ones(3)
    noted.note = "mine"
    negative = torch._neg_view(torch.ones(3))
    weight = torch.nn.Parameter(torch.ones(2, 3), requires_grad=False)
    plain = torch.ones(4, 6, requires_grad=True)
    found = back({"noted": noted, "negative": negative, "weight": weight, "plain": plain, "again": plain})
    assert found["noted"].note == "mine"
    assert torch.equal(found["negative"], -torch.ones(3))
    assert type(found["weight"]) is torch.nn.Parameter
    assert not found["weight"].requires_grad
    assert found["plain"].requires_grad
    assert found["plain"].is_leaf
    assert found["again"] is found["plain"]


def test_tensors_that_an_earlier_skeleton_wrote_come_back() -> None:
    """Skeletons on disk name the functions that rebuild them: these go by way of a typed storage."""
    from dagtree.storage.buffer import Buffer
    from dagtree.storage.rebuild import typed_storage

    tensor = torch.arange(6.0).reshape(2, 3)
    rebuilt, arguments, *_ = tensor.__reduce_ex__(5)
    place = pickle.PickleBuffer(bytearray(1))

    class Old(pickle.Pickler):
        def reducer_override(self, value: Any) -> Any:
            from dagtree.storage import rebuild

            if isinstance(value, torch.TypedStorage):
                return typed_storage, (value._untyped_storage, value.dtype)
            if isinstance(value, torch.UntypedStorage):
                return rebuild.storage, (place, "cpu")
            return (rebuilt, arguments) if value is tensor else NotImplemented

    file = io.BytesIO()
    pickler = Old(file, protocol=5, buffer_callback=lambda given: False)
    pickler.dump(("x",))
    pickler.dump(tensor)
    memory = bytearray(tensor.numpy().tobytes())
    buffer = Buffer("x", "F32", (2, 3), 24, "cpu", "torch", memory)
    assert torch.equal(Payload(file.getvalue(), (buffer,)).load()["x"], tensor)
