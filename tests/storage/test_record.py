"""A record's line says everything, and is refused when one byte of it is not what was written."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagtree.storage.lines import decode_line
from dagtree.storage.notes import Damage, Note, seal
from dagtree.storage.record import Record
from dagtree.testing import make_record

KEYS = st.text("0123456789abcdef", min_size=32, max_size=32)
TEXT = st.text(st.characters(codec=None), max_size=20)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=8,
)
RECORDS = st.builds(
    make_record,
    st.integers(0, 9),
    key=KEYS,
    address=KEYS,
    kind=st.sampled_from(["root", "recipe", "moment"]),
    recipe=TEXT,
    parents=st.lists(KEYS, max_size=3).map(tuple),
    tags=st.lists(TEXT, max_size=3).map(tuple),
    status=st.sampled_from(["done", "failed"]),
    moment=st.none() | st.integers(0, 10**9),
    position=st.integers(0, 10**9),
    ended=st.floats(-1e17, 1e17),
    more=st.dictionaries(TEXT, JSON, max_size=4).map(
        lambda more: {f"_{name}": v for name, v in more.items()}
    ),
)


def facts(record: Record) -> dict[str, Any]:
    names = {"key", "address", "kind", "recipe", "parents", "tags", "status", "moment", "position", "ended"}
    return {name: getattr(record, name) for name in names | {"defined", "more"}}


@given(RECORDS)
def test_every_fact_comes_back(record: Record) -> None:
    line = record.encode()
    found = decode_line(line[:-1])
    assert isinstance(found, Record)
    assert facts(found) == facts(record)
    assert found == record
    assert found.encode() == line
    assert line.count(b"\n") == 1
    assert line.isascii()


@given(RECORDS)
def test_a_line_is_json_that_others_can_read(record: Record) -> None:
    read = json.loads(record.encode())
    assert list(read)[:3] == ["check", "key", "kind"]
    assert read["key"] == record.key
    assert read["recipe"] == record.recipe
    assert tuple(read["tags"]) == record.tags
    assert read["more"] == record.more


@given(RECORDS, st.data())
def test_a_line_with_another_byte_is_refused(record: Record, data: st.DataObject) -> None:
    line = record.encode()[:-1]
    place = data.draw(st.integers(0, len(line) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda value: value != line[place]))
    assert decode_line(line[:place] + bytes([value]) + line[place + 1 :]) is None


@given(RECORDS, st.data())
def test_a_torn_line_is_refused(record: Record, data: st.DataObject) -> None:
    line = record.encode()[:-1]
    assert decode_line(line[: data.draw(st.integers(0, len(line) - 1))]) is None
    assert decode_line(line + data.draw(st.binary(min_size=1, max_size=5))) is None


@given(st.binary(max_size=300))
def test_garbage_is_refused(line: bytes) -> None:
    assert decode_line(line) is None


FORGED = [
    ',"key":"../../x","kind":"recipe"}',
    ',"key":5}',
    "}",
    "",
    ',"key":"' + "a" * 32 + '","kind":"note","tags":3}',
    ',"key":"' + "a" * 32 + '","kind":"note","results":[],"at":"now"}',
    ',"key":"' + "a" * 32 + '","kind":"note","at":' + "9" * 400 + "}",
    ',"key":"' + "a" * 32 + '","kind":"damaged","lines":[1]}',
    ',"key":"' + "a" * 32 + '","kind":"mystery"}',
    ',"deep":' + "[" * 50_000,
    ',"long":' + "9" * 5000 + "}",
]


@pytest.mark.parametrize("text", FORGED, ids=range(len(FORGED)))
def test_a_line_that_vouches_for_nonsense_is_refused(text: str) -> None:
    assert decode_line(seal(text)) is None


BODIES = [
    "",
    '"ended":"now"',
    '"ended":1e999,"address":3,"more":{}}',
    '"ended":1.0,"address":"'
    + "a" * 32
    + '","recipe":5,"parents":7,"tags":{},"moment":"x","position":null,"more":[]}',
    '"ended":1.0,"address":"'
    + "a" * 32
    + '","recipe":"\\q","parents":[],"tags":["\\q"],"moment":null,"position":1,"more":{]}',
    '"ended":1.0,"address":"'
    + "a" * 32
    + '","recipe":"R","parents":[],"tags":[],"moment":null,"position":1,"more":{"a":'
    + "[" * 99_999,
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_a_record_that_vouches_for_nonsense_is_refused_or_can_be_looked_at(body: str) -> None:
    line = seal(',"key":"' + "a" * 32 + '","kind":"recipe","status":"done","needs":{},' + body)
    found = decode_line(line)
    assert found is None or (isinstance(found, Record) and found.more == {} and found.recipe == "R")


@pytest.mark.parametrize(
    "wrong",
    [
        {"key": "../../x"},
        {"key": "A" * 32},
        {"address": ""},
        {"parents": ("x",)},
        {"kind": "leaf"},
        {"status": "maybe"},
    ],
)
def test_a_record_of_no_node_cannot_be_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"key|kept"):
        make_record(**wrong)


@given(RECORDS)
def test_records_survive_pickling_and_copying(record: Record) -> None:
    found = decode_line(record.encode()[:-1])
    assert pickle.loads(pickle.dumps(record)) == record
    assert pickle.loads(pickle.dumps(found)) == record
    assert copy.deepcopy(found) == record


def test_an_unknown_attribute_is_said_to_be_unknown() -> None:
    with pytest.raises(AttributeError, match="colour"):
        _ = make_record().colour
    assert not hasattr(make_record(), "__array__")


def noted(record: Record, *notes: Note) -> Record:
    again = decode_line(record.encode()[:-1])
    assert again is not None
    return again.noted(notes)


def note(**facts: Any) -> Note:
    return Note(**{"key": make_record().key, "tags": (), "results": {}, "defined": 0.0, "at": 1.0, **facts})


def test_notes_add_up_in_any_order() -> None:
    record = make_record(tags=("a",), more={"results": {"f": {"value": 1, "at": 1.0}}})
    one = note(tags=("b",), results={"f": {"value": 2, "at": 5.0}, "g": {"value": 0, "at": 1.0}}, at=1.0)
    two = note(tags=("c", "a"), results={"f": {"value": 3, "at": 4.0}}, defined=record.ended + 9, at=2.0)
    results = []
    for order in ((one, two), (two, one)):
        both = (record.noted(order), noted(record, *order))
        results += [(found.tags, found.more["results"], found.defined) for found in both]
    assert results[0] == (
        ("a", "b", "c"),
        {"f": {"value": 2, "at": 5.0}, "g": {"value": 0, "at": 1.0}},
        record.ended + 9,
    )
    assert results[1:] == results[:1] * 3
    assert record.tags == ("a",)


def test_a_noted_record_travels_with_its_notes() -> None:
    found = noted(make_record(tags=()), note(tags=("b",), results={"f": {"value": 2, "at": 5.0}}))
    again = decode_line(found.encode()[:-1])
    assert again is not None
    assert again.tags == ("b",)
    assert again.more["results"] == {"f": {"value": 2, "at": 5.0}}
    assert pickle.loads(pickle.dumps(found)) == found


@given(st.lists(TEXT), st.dictionaries(TEXT, JSON, max_size=3), st.floats(0, 1e17), TEXT)
def test_notes_and_damage_come_back(
    tags: list[str], results: dict[str, Any], when: float, reason: str
) -> None:
    written = Note("a" * 32, tuple(tags), results, when, when)
    assert decode_line(written.encode()[:-1]) == written
    damage = Damage("a" * 32, reason, ("0" * 16,))
    assert decode_line(damage.encode()[:-1]) == damage


def test_a_noted_record_never_forgets_what_its_line_does_not_say() -> None:
    for read_first in (False, True):
        record = decode_line(make_record().encode()[:-1])
        assert isinstance(record, Record)
        if read_first:
            _ = record.more
        found = noted(record, note(results={"f": {"value": 2, "at": 5.0}}))
        found.forget_more()
        assert found.more["results"]["f"]["value"] == 2
