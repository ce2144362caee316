"""A timm network with random weights as ONNX, by PyTorch's own exporter.

    PYTHON tests/benchmarks/pytorch_export.py NETWORK SIDE RESULT.onnx [torchscript]

Nothing of kexport is imported here: PYTHON is that of the peer's environment. The batch is open, as it is in kexport's
files. Batch normalizations take the statistics of a random batch: with those of an untrained network activations
shrink from layer to layer until they are denormal, which no processor computes quickly. The last line on stdout is
JSON: the parameters, the exporter, the versions of the packages.
"""

from __future__ import annotations

import importlib
import json
import sys
from importlib import metadata
from typing import Any

BATCH = 8
PACKAGES = ("torch", "timm", "onnx", "onnxscript", "onnxruntime")


def main(network: str, side: str, result: str, exporter: str = "dynamo") -> None:
    import torch

    _import_torchvision()
    import timm

    torch.manual_seed(0)
    torch.set_num_threads(2)
    model = timm.create_model(network, pretrained=False)
    _settle(model, torch.randn(BATCH, 3, int(side), int(side)))
    image = torch.randn(2, 3, int(side), int(side))
    names: Any = {"input_names": ["input"], "output_names": ["output"]}
    if exporter == "dynamo":
        shapes = {"dynamic_shapes": ({0: torch.export.Dim("batch")},)}
        torch.onnx.export(model, (image,), result, dynamo=True, external_data=False, **shapes, **names)
    else:
        axes = {"dynamic_axes": {"input": {0: "batch"}, "output": {0: "batch"}}}
        torch.onnx.export(model, (image,), result, dynamo=False, **axes, **names)
    parameters = sum(each.numel() for each in model.parameters())
    versions = {name: metadata.version(name) for name in PACKAGES}
    print("\n" + json.dumps({"parameters": parameters, "exporter": exporter, "versions": versions}))


def _import_torchvision() -> None:
    """PyPI's torchvision is for CUDA: beside torch for the CPU its kernels do not load; timm needs its Python alone."""
    import torch

    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(library)  # an operator lives as long as its library
        importlib.import_module("torchvision")


_KEPT: list[Any] = []


def _settle(model: Any, images: Any) -> None:
    """Statistics and scales such that every batch normalization puts out variance 1."""
    import torch

    norms = [module for module in model.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        torch.nn.init.ones_(norm.weight)
        norm.momentum = None
    model.train()
    with torch.no_grad():
        model(images)
    model.eval()


if __name__ == "__main__":
    main(*sys.argv[1:])
