"""After kill -9 at any instant every node is there whole or not at all."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dagtree.storage.local import LocalStore
from dagtree.testing import make_record

WRITE = """
import itertools, sys
import numpy as np
from dagtree.storage.local import LocalStore
from dagtree.storage.payload import Payload
from dagtree.testing import make_record
store = LocalStore(sys.argv[1])
for number in itertools.count(int(sys.argv[2])):
    content = {"x": number, "small": np.full(50, number)}
    if number % 3 == 0:
        content["large"] = np.full(40_000, number)
    more = {"seconds": 2.0 if number % 50 == 0 else 0.0}
    store.write(make_record(number, more=more), Payload.dump(content))
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
def test_nodes_are_whole_after_being_killed_at_any_instant(tmp_path: Path) -> None:
    directory, reported = tmp_path / "x", set[int]()
    draw = random.Random(5)
    for attempt in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITE, str(directory), str(attempt * 100_000)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(draw.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        lines = [first, *process.stdout.read().split(b"\n")[:-1]]
        process.wait()
        process.stdout.close()
        reported.update(int(line) for line in lines)
        store = LocalStore(directory)
        assert {f"{number:032x}" for number in reported} <= store.keys()
        assert store.problems() == ()
        for key in set(store.keys()):
            number, content = int(key, 16), store.read(key).load()
            assert content["x"] == number
            np.testing.assert_array_equal(content["small"], np.full(50, number))
            assert ("large" in content) == (number % 3 == 0)
            np.testing.assert_array_equal(content.get("large", number), number)
    assert len(reported) > 20
    after = make_record(999_999)
    store.write(after, None)
    assert after.key in LocalStore(directory).records()
