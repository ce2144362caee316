"""config.pbtxt as Triton's own parser reads it."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kexport import bundles
from kexport.bundles import archive, common, deployment, licences, model_card, triton
from kexport.errors import UsageError
from kexport.records import AccuracyRecord, Record, Signature, Status
from tests.bundles.conftest import Made


@pytest.fixture(scope="module")
def parse() -> Callable[[str], Any]:
    """Text to ``inference.ModelConfig``; the messages are those of the package tritonclient, without its gRPC."""
    client = importlib.util.find_spec("tritonclient")
    if client is None or client.submodule_search_locations is None:
        pytest.skip("tritonclient is not installed")
    path = Path(client.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    assert spec is not None
    assert spec.loader is not None
    messages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(messages)
    from google.protobuf import text_format

    return lambda text: text_format.Parse(text, messages.ModelConfig())


def test_a_dynamic_batch_is_no_dimension(small: Callable[..., Path], made: Made, parse: Callable[[str], Any]) -> None:
    artifact = small("a.onnx")
    folder = made(artifact, "triton") / "model_repository" / "a-float32"
    found = parse((folder / "config.pbtxt").read_text())
    assert (found.name, found.backend, found.max_batch_size) == ("a-float32", "onnxruntime", 8)
    assert [(each.name, list(each.dims), each.data_type) for each in found.input] == [("in0", [8, 8, 3], 11)]
    assert [(each.name, list(each.dims), each.label_filename) for each in found.output] == [
        ("output", [3], "labels.txt")
    ]
    warm = found.model_warmup[0].inputs["in0"]
    assert list(warm.dims) == [8, 8, 3]
    size = np.dtype(np.float32).itemsize * int(np.prod(warm.dims))
    assert (folder / "warmup" / warm.input_data_file).stat().st_size == size
    assert (folder / "1" / found.default_model_filename).read_bytes() == artifact.read_bytes()
    assert (folder / "labels.txt").read_text().splitlines()[2] == "blue"


def test_a_hostile_name_is_no_path(small: Callable[..., Path], tmp_path: Path) -> None:
    found = deployment.read(small("a.onnx"))
    record = Record(model="../../x y", format="onnx", scheme="../../../z", status=Status.PASS)
    hostile = replace(found, file=replace(found.file, record=record))
    assert triton.name_of(hostile) == "-x-y--z"
    assert hostile.slug == "-x-y"


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a" * 300])
def test_no_file_of_a_bundle_leads_out_of_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="which leads out of it"):
        archive.write({name: b"x"}, tmp_path / "bundle", archived=False)
    assert list(tmp_path.iterdir()) == []


def test_a_card_has_no_links_and_images_of_others(small: Callable[..., Path]) -> None:
    found = deployment.read(small("a.onnx"))
    mark = "![x](http://example.org/x.png)<script>\x1b]0;t\x07"
    accuracy = AccuracyRecord(
        images=1, labelled=False, top1_agreement=1.0, output_sqnr_db=9.0, logits_sqnr_db=None, logits_images=0,
        non_finite=0, caveats=(mark,),
    )  # fmt: skip
    record = Record(model=mark, format="onnx", scheme=mark, status=Status.FAIL, reason=mark, accuracy=accuracy)
    hostile = replace(found, file=replace(found.file, record=record))
    for told in (model_card.text(hostile), common.readme(bundles.find("python"), hostile), licences.text(hostile)):
        assert not re.search(r"(?<!\\)\]\(|<script|://example|\x1b", told)


def test_a_fixed_batch_is_a_dimension(small: Callable[..., Path], parse: Callable[[str], Any]) -> None:
    found = deployment.read(small("a.onnx"))
    fixed = type(found)(
        **{
            **vars(found),
            "inputs": (Signature(name='a"b', shape=(4, 64, 64, 3), dtype="uint8"),),
            "outputs": (Signature(name="output", shape=(4, 10), dtype="float32"),),
        }
    )
    config = parse(triton.config(fixed))
    assert config.max_batch_size == 0
    assert list(config.input[0].dims) == [4, 64, 64, 3]
    assert (config.input[0].name, config.input[0].data_type) == ('a"b', 2)
    assert list(config.output[0].dims) == [4, 10]
    assert not config.HasField("dynamic_batching")
