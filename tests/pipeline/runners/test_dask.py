"""Work on a Dask cluster: results by name, errors of the work, and clusters that cannot be used told in a line."""

from __future__ import annotations

import importlib.util
import logging
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from kexport.errors import EnvironmentFailure, MissingDependencyError, StoreError
from kexport.pipeline.runners import dask


def double(value: Any) -> Any:
    if value == 3:
        raise StoreError("the bucket is gone")
    if value == 4:
        raise ValueError("four")
    return 2 * value


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0", silence_logs=logging.CRITICAL
    ) as cluster:
        yield cluster.scheduler_address


def test_results_come_by_name_and_errors_as_what_was_lost(address: str) -> None:
    with dask.connected(address) as cluster:
        found = dict(cluster.each(double, {str(value): value for value in range(5)}))
    assert {name: found[name] for name in "012"} == {"0": 0, "1": 2, "2": 4}
    assert isinstance(found["3"].error, StoreError)
    assert found["4"].reason == "ValueError: four"


def test_a_worker_that_is_killed_each_time_is_told_as_memory() -> None:
    killed = type("KilledWorker", (Exception,), {})("task", "worker", 3)
    assert dask.Lost(error=killed).reason == "every worker that took it was killed (out of memory?)"


def test_another_version_on_a_worker(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask, "__version__", "9.9.9")
    monkeypatch.setattr(dask, "about", str)
    with pytest.raises(EnvironmentFailure, match=r"has kexport , expected 9\.9\.9 as here") as caught:
        dask.connected(address).__enter__()
    assert caught.value.hint == "pip install 'kexport[cpu,cluster]==9.9.9' where the workers run"


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(dask, "CONNECT_SECONDS", 0.3)
    for address in (nobody, "nowhere://1", "tcp://127.0.0.1"):
        with pytest.raises(EnvironmentFailure, match=f"--cluster {address}: no Dask scheduler answers there") as caught:
            dask.connected(address).__enter__()
        assert caught.value.hint == "dask scheduler, whose first lines tell its address"


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nowhere://1", "tcp://127.0.0.1"])
def test_no_client_is_left_behind_where_nobody_answers(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Its end would come whenever garbage is collected, and could block."""
    from distributed import Client

    made: list[str] = []
    began = Client.__init__
    monkeypatch.setattr(dask, "CONNECT_SECONDS", 0.3)
    monkeypatch.setattr(
        Client, "__init__", lambda self, *told, **more: made.append(told[0]) or began(self, *told, **more)
    )
    with pytest.raises(EnvironmentFailure, match="no Dask scheduler answers there"):
        dask.connected(address).__enter__()
    assert made == []


def test_nobody_works(monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import LocalCluster

    monkeypatch.setattr(dask, "WORKERS_SECONDS", 0.3)
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=":0", silence_logs=logging.CRITICAL) as cluster,
        pytest.raises(EnvironmentFailure, match="no worker came within 0 s") as caught,
    ):
        dask.connected(cluster.scheduler_address).__enter__()
    assert str(caught.value.hint).startswith("dask worker ")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match="needs the package distributed") as caught:
        dask.connected("tcp://head:8786").__enter__()
    assert caught.value.hint == "pip install 'kexport[cluster]'"
