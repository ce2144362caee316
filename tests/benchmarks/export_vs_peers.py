"""kexport's ONNX export against Keras's own ``model.export(format="onnx")``: time, memory, latency on ORT.

    python tests/benchmarks/export_vs_peers.py [--models ResNet50,VGG16] [--json FILE]

VGG16 and ConvNeXtXLarge are exported by kexport alone: the peer needs more memory than 24 GiB for VGG16.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness import Comparison, guard


def export_native(model: Any, path: Path) -> None:
    """The whole of kexport's way from a built Keras model to a file."""
    from kexport.formats.onnx.writer import write
    from kexport.lowerings.model import lower_model
    from kexport.passes import optimize

    write(optimize(lower_model(model)), path)


def export_peer(model: Any, path: Path) -> None:
    """What Keras offers its users (through tf2onnx)."""
    model.export(str(path), format="onnx", verbose=False)


if __name__ == "__main__":
    guard(
        Comparison(
            title="ONNX: export of a built model, then float latency on ORT (2 threads, batch 1)",
            script=Path(__file__).resolve(),
            native=export_native,
            peer=export_peer,
            peer_name="model.export(format='onnx')",
            suffix=".onnx",
            runtime="onnxruntime",
            models=(
                "ResNet50",
                "EfficientNetB0",
                "MobileNetV3Small",
                "NASNetMobile",
                "ConvNeXtTiny",
                "InceptionResNetV2",
            ),
            native_only=("VGG16", "ConvNeXtXLarge"),
        )
    )
