"""Cells on a Dask cluster: they go model by model; what cannot leave this program is told before anything starts."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import kexport
from kexport import store
from kexport.errors import StoreError, UsageError
from kexport.evidence.benchmark import BenchSettings
from kexport.evidence.scores import Measure
from kexport.options.place import Url
from kexport.pipeline import Request, cluster, run
from kexport.pipeline.runners import dask
from kexport.records import decode, encode
from kexport.specs import Cell, Format, ModelSpec, WeightsSpec
from kexport.store import mirror
from kexport.store.manifest import entries
from tests.places import ROOT
from tests.store import test_remote as remote

RANDOM = WeightsSpec(kind="random", seed=0)
CELL = Cell(model=ModelSpec(application="MobileNet", weights=RANDOM), format=Format.ONNX)
LIVE = replace(CELL, model=ModelSpec(live="mine", weights=WeightsSpec(kind="model")))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"cells": (CELL, LIVE)}, "the model 'mine' is in this program alone"),
        ({"data": {"given:0": Path("data.npz")}}, "arrays and functions of this program stay in it"),
        ({"own": Measure(name="mine", function=lambda *_: 0.0)}, "arrays and functions of this program stay in it"),
        ({"bench": BenchSettings()}, "--cluster and --bench: latency is measured on one machine"),
        ({"bench": BenchSettings(), "auto": True}, "--cluster and --schemes auto: latency is measured on one machine"),
    ],
)
def test_what_cannot_leave_this_program(asked: dict[str, object], said: str, tmp_path: Path) -> None:
    request = Request(**{"cells": (CELL,), "directory": tmp_path / "out", "cluster": "tcp://nowhere:1", **asked})
    with pytest.raises(UsageError, match=said):
        run(request, cluster.Silent())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("url", ["memory://bucket/models", "MEMORY://bucket/models", "Memory://models"])
def test_the_memory_of_a_worker_is_no_place(url: str) -> None:
    source = str(ROOT / "tests" / "data" / "tiny-0.1.keras")
    with pytest.raises(UsageError, match="would stay in its own memory") as caught:
        kexport.export(source, formats="onnx", cluster="tcp://nowhere:1", output=url)
    assert caught.value.hint == "-o s3://bucket/models"


def made_by(worker: dict[str, object], request: Request, monkeypatch: pytest.MonkeyPatch) -> object:
    """The run of a request whose cluster answers so, by the models' names."""

    class Answers:
        def each(self, _function: object, work: dict[str, cluster.Portion]) -> object:
            return ((name, worker[portion.cells[0].model.name]) for name, portion in work.items())

        def __enter__(self) -> Answers:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(dask, "connected", lambda _: Answers())
    return run(request, cluster.Silent())


def test_records_come_back_and_the_manifest_states_what_workers_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cells = tmp_path / "out", tuple(remote.cell(name) for name in remote.MODELS)
    folder.mkdir()
    records = {cell.model.name: remote.add(folder, cell) for cell in cells}
    store.write_manifest(folder)
    stated = entries(folder)
    (folder / "manifest.json").unlink()
    (folder / f".kexport-{'0a' * 16}").mkdir()  # of a worker that was killed while it wrote
    worker: dict[str, object] = {
        name: cluster.Made(
            records=(encode(record),), entries={key: each for key, each in stated.items() if key.startswith(name)}
        )
        for name, record in records.items()
    }
    request = Request(cells=cells, directory=folder, cluster="tcp://head:1")
    assert made_by(worker, request, monkeypatch) == tuple(records.values())
    assert store.verify(folder) == ()
    assert not list(folder.glob(".kexport-*"))
    worker["Second"] = dask.Lost(error=type("KilledWorker", (Exception,), {})())
    _, lost, _ = made_by(worker, request, monkeypatch)  # type: ignore[misc]
    assert lost.reason == "lost on the cluster: every worker that took it was killed (out of memory?)"
    assert lost.exit_code == 3


def test_a_folder_that_workers_do_not_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "theirs").mkdir()
    record = remote.add(tmp_path / "theirs", remote.cell("First"))
    request = Request(cells=(remote.cell("First"),), directory=tmp_path / "ours", cluster="tcp://head:1")
    made = cluster.Made(records=(encode(record),), entries={})
    with pytest.raises(StoreError, match="is not the folder that the workers have written") as caught:
        made_by({"First": made}, request, monkeypatch)
    assert caught.value.hint == "-o s3://bucket/models"


@pytest.mark.parametrize("protocol", ["file", "local"])
@pytest.mark.parametrize("form", [Format.ONNX, Format.TFLITE, Format.SAVEDMODEL])
def test_a_url_that_workers_do_not_share(
    protocol: str, form: Format, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """file:// is another folder on each machine."""
    (tmp_path / "theirs").mkdir()
    cell = remote.cell("First", form)
    made = cluster.Made(records=(encode(remote.add(tmp_path / "theirs", cell)),), entries={})

    def answered(url: Url) -> object:
        with mirror.opened(url, {"First"}) as where:
            request = Request(cells=(cell,), directory=where.path, mirror=where.mirror, cluster="tcp://head:1")
            return made_by({"First": made}, request, monkeypatch)

    assert answered(Url(f"{protocol}://{tmp_path}/theirs")) == tuple(map(decode, made.records))
    with pytest.raises(StoreError, match="is not the folder that the workers have written") as caught:
        answered(Url(f"{protocol}://{tmp_path}/ours"))
    assert caught.value.message.startswith(f"{protocol}://{tmp_path}/ours is not")


def test_a_model_goes_whole_to_a_worker(tmp_path: Path) -> None:
    from distributed import LocalCluster

    source = shutil.copy(ROOT / "tests" / "data" / "tiny-0.1.keras", tmp_path / "Tiny.keras")
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0", silence_logs=logging.CRITICAL
    ) as made:
        ask = {"cluster": made.scheduler_address, "output": tmp_path / "out"}
        records = kexport.export(str(source), formats="onnx,tflite", **ask)
        again = kexport.export(str(source), formats="onnx,tflite", resume=True, **ask)
    assert [record.status for record in records] == ["PASS", "PASS"]
    assert again == records
    assert kexport.verify(tmp_path / "out") == ()
