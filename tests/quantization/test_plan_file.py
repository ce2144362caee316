"""Plans on disk: what is read back is what was written, or nothing at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kexport.errors import GraphError, StoreError
from kexport.quantization import plan_file
from kexport.quantization.plan import QuantPlan
from kexport.quantization.quantize import quantize, weights_only
from tests.quantization.networks import RELU, batches_of, compile_, feeds_of, mobile


def int8_plan() -> QuantPlan:
    graph = mobile(RELU, excite=True)
    return quantize(graph, batches_of(feeds_of(graph)), compile_, keep_float=["project"])


def assert_same(left: QuantPlan, right: QuantPlan) -> None:
    assert dict(left.values) == dict(right.values)
    assert dict(left.precisions) == dict(right.precisions)
    assert left.notes == right.notes
    assert list(left.kernels) == list(right.kernels)
    for name, kernel in left.kernels.items():
        other = right.kernels[name]
        np.testing.assert_array_equal(kernel.numbers, other.numbers)
        np.testing.assert_array_equal(kernel.scales, other.scales)
        assert (kernel.bias is None) is (other.bias is None)
        if kernel.bias is not None:
            np.testing.assert_array_equal(kernel.bias, other.bias)
    assert [(node.name, node.inputs, node.shape, node.layers) for node in left.graph] == [
        (node.name, node.inputs, node.shape, node.layers) for node in right.graph
    ]
    for one, two in zip(left.graph, right.graph, strict=True):
        for field, value in vars(one.operation).items():
            np.testing.assert_array_equal(value, getattr(two.operation, field), err_msg=f"{one.name} {field}")


@pytest.mark.parametrize("make", [int8_plan, lambda: weights_only(mobile(RELU))], ids=["int8", "weights"])
def test_round_trip(tmp_path: Path, make):
    plan = make()
    assert not plan_file.exists(tmp_path)
    plan_file.save(plan, tmp_path)
    assert plan_file.exists(tmp_path)
    assert_same(plan, plan_file.load(tmp_path))


def test_notes_name_the_float_layers(tmp_path: Path):
    plan_file.save(int8_plan(), tmp_path)
    assert plan_file.load(tmp_path).notes == ("float32 layers: project",)


def test_a_plan_without_its_last_file_is_no_plan(tmp_path: Path):
    plan_file.save(int8_plan(), tmp_path)
    (tmp_path / plan_file.PLAN).unlink()
    assert not plan_file.exists(tmp_path)


def test_what_is_read_is_checked(tmp_path: Path):
    plan_file.save(int8_plan(), tmp_path)
    path = tmp_path / plan_file.PLAN
    path.write_text(path.read_text().replace('"stem": [', '"other": [', 1))
    with pytest.raises(GraphError, match="int8 node 'stem': value 'stem' has no scale"):
        plan_file.load(tmp_path)


def test_every_mistake_of_a_damaged_plan_is_told_with_its_path(tmp_path: Path):
    plan_file.save(int8_plan(), tmp_path)
    path = tmp_path / plan_file.PLAN
    document = json.loads(path.read_text())
    document["precisions"]["stem"], document["values"]["stem"] = "int3", [0.5]
    path.write_text(json.dumps(document))
    with pytest.raises(StoreError) as caught:
        plan_file.load(tmp_path)
    first, *lines = caught.value.message.splitlines()
    assert first == f"plan {path} is damaged:"
    assert [line.split(":")[0] for line in lines] == ["values.stem.1", "precisions.stem"]
