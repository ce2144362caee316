"""A graph holds every weight; what was written is checked without it."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest

from kexport.graph import Graph
from kexport.pipeline.tasks import cell
from kexport.specs import Format, Scheme
from tests.own_models import exported, saved


@pytest.mark.parametrize("scheme", [Scheme.FLOAT32, Scheme.DYNAMIC, Scheme.INT8])
def test_no_graph_is_there_while_the_file_is_proven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: Scheme
) -> None:
    import keras
    from keras import layers

    keras.utils.set_random_seed(3)
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, layers.Dense(5)(layers.Flatten()(layers.Conv2D(8, 3, activation="relu")(image))))
    seen, prove = [], cell.prove

    def proven(*arguments: Any, **options: Any) -> Any:
        gc.collect()
        seen.append(sum(isinstance(each, Graph) for each in gc.get_objects()))
        return prove(*arguments, **options)

    gc.collect()
    before = sum(isinstance(each, Graph) for each in gc.get_objects())
    monkeypatch.setattr(cell, "prove", proven)
    calibration = "synthetic:0" if scheme is Scheme.INT8 else None
    exported(saved(model, tmp_path), tmp_path, (Format.ONNX, Format.TFLITE), scheme=scheme, calibration=calibration)
    assert len(seen) == 2
    assert max(seen) <= before
