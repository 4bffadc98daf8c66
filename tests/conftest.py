"""Shared by all tests: small states and recipes, and one cluster for those that need it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
# How long an example takes is the machine's affair, which may be busy with other things.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(scope="session")
def client() -> Iterator[object]:
    """A real cluster of two worker processes."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=2, dashboard_address=":0", processes=True
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(scope="session")
def mortal() -> Iterator[object]:
    """A cluster of two worker processes that tests may kill."""
    distributed = pytest.importorskip("distributed")
    dask = pytest.importorskip("dask")
    with (
        # A LocalCluster lets a worker go for good that is down again so long after it died.
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1h"}),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


SERVE = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
server.start()
print("port", server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a bucket of a real S3 server, which runs in a process of its own; worker processes inherit
    what they need to reach it."""
    if importlib.util.find_spec("moto") is None or importlib.util.find_spec("s3fs") is None:
        pytest.skip("needs moto and s3fs")
    log = tmp_path_factory.mktemp("s3") / "server.log"
    with (
        log.open("wb") as said,
        pytest.MonkeyPatch.context() as patch,
        subprocess.Popen(
            [sys.executable, "-c", SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said
        ) as server,
    ):
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            line = server.stdout.readline().split()
            while line and line[0] != b"port":
                line = server.stdout.readline().split()
            assert line, log.read_text()
            patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{line[1].decode()}")
            patch.setenv("AWS_ACCESS_KEY_ID", "tests")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
            patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
            patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
            patch.setenv("AWS_CONFIG_FILE", os.devnull)
            patch.setenv("DAGTREE_CACHE", str(tmp_path_factory.mktemp("nearby")))
            import s3fs

            s3fs.S3FileSystem().mkdir("tests")
            yield "s3://tests"
        finally:
            server.stdin.close()
            server.kill()
