"""Keys are a file format: pinned, chained, and framed so that no two nodes share one."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from dagtree.identity.canonical import canonical_properties
from dagtree.identity.key import KEY_VERSION, address, digest, node_key, seed_of

PROPERTIES = canonical_properties({"epochs": 20, "lr": 0.1, "name": "x"})
CODE = "0123456789abcdef0123456789abcdef"


def test_golden_keys():
    """These change only together with KEY_VERSION: every experiment on disk relies on them."""
    root = node_key("root", "State", CODE, canonical_properties({"dataset": "digits"}), ())
    child = node_key("recipe", "Train", CODE, PROPERTIES, (root,))
    both = node_key("recipe", "Average", CODE, canonical_properties({}), (root, child))
    assert KEY_VERSION == 1
    assert (root, child, both) == (
        "d46a2222af1e1a31762f53b16bca27ed",
        "aabf00e0d67c81d0f5f7eaa64de7711e",
        "921d7db3d952ed6b0b12afca2e71688b",
    )
    assert address("recipe", "Train", PROPERTIES, (root,)) == "3cd39cbfbbb162fb6860e41bd92e9c70"
    assert seed_of(child) == 16033817289911195576
    assert digest(b"dagtree") == "e113ec4fc007a30d877ef8a68dc0e9fe"


def test_every_part_of_a_node_is_in_its_key():
    keys = [
        node_key("recipe", "Train", CODE, PROPERTIES, (CODE,)),
        node_key("moment", "Train", CODE, PROPERTIES, (CODE,)),
        node_key("recipe", "Prune", CODE, PROPERTIES, (CODE,)),
        node_key("recipe", "Train", CODE[::-1], PROPERTIES, (CODE,)),
        node_key("recipe", "Train", CODE, canonical_properties({}), (CODE,)),
        node_key("recipe", "Train", CODE, PROPERTIES, (CODE[::-1],)),
        node_key("recipe", "Train", CODE, PROPERTIES, (CODE, CODE)),
        node_key("recipe", "Train", CODE, PROPERTIES, ()),
        address("recipe", "Train", PROPERTIES, (CODE,)),
        node_key("recipe", "Train", "", PROPERTIES, (CODE,)),
    ]
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 32 and set(key) <= set("0123456789abcdef") for key in keys)


def test_the_order_of_parents_counts():
    one, other = CODE, CODE[::-1]
    assert node_key("recipe", "Merge", CODE, b"", (one, other)) != node_key(
        "recipe", "Merge", CODE, b"", (other, one)
    )


short = st.text(alphabet="ab:1", max_size=3)
parts = st.tuples(short, short, short, short.map(str.encode), st.lists(short, max_size=3).map(tuple))


@given(parts, parts)
def test_parts_never_run_into_each_other(one, other):
    assert (node_key(*one) == node_key(*other)) == (one == other)


def test_what_is_hashed_for_different_nodes_is_different():
    """All ways to cut "1:1:" into a kind, a name, a code and properties."""
    text = "1:1:"
    cuts = [[0, *cut, len(text)] for cut in itertools.combinations_with_replacement(range(len(text) + 1), 3)]
    pieces = [[text[start:end] for start, end in itertools.pairwise(cut)] for cut in cuts]
    keys = {node_key(kind, name, code, properties.encode(), ()) for kind, name, code, properties in pieces}
    assert len(keys) == len({tuple(piece) for piece in pieces})


def test_a_digest_is_over_the_bytes_however_they_are_cut():
    whole = bytes(range(256)) * 10
    assert (
        digest(whole)
        == digest(whole[:100], whole[100:])
        == digest(memoryview(whole))
        == digest(whole[:7], b"", memoryview(whole)[7:])
    )
    assert digest() == digest(b"")
    assert digest(b"a") != digest(b"b")


def test_seeds_are_64_bits_and_differ():
    seeds = {seed_of(f"{number:032x}") for number in range(1000)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**64 for seed in seeds)
    assert max(seeds) > 2**63
