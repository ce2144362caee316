"""``contract.json``: how a file is fed and read, in one small document that every client of a bundle reads."""

from __future__ import annotations

import json
from typing import Any

from kexport.bundles.deployment import Deployment
from kexport.records import Signature
from kexport.version import __version__

SCHEMA = 1


def of(deployment: Deployment) -> dict[str, Any]:
    """A pixel p in [0, 255] becomes ``(p * scale - mean) / std`` per channel, in the channel order that is named.

    Where a tensor has a ``scale``, its integers stand for ``scale * (integer - zero_point)``.
    """
    contract = deployment.contract
    return {
        "schema": SCHEMA,
        "kexport": __version__,
        "model": deployment.name,
        "model_file": deployment.model_file,
        "format": deployment.format,
        "scheme": deployment.scheme,
        "input": _tensor(deployment.image, deployment),
        "outputs": [
            {**_tensor(spec, deployment), "activation": deployment.file.contents.ends.get(spec.name, "")}
            for spec in deployment.outputs
        ],
        "preprocessing": {
            "size": list(contract.size),
            "resize": str(contract.resize),
            "resize_shorter_side": contract.resize_shorter_side,
            "interpolation": contract.interpolation,
            "channel_order": contract.channel_order,
            "scale": contract.scale,
            "mean": list(contract.mean),
            "std": list(contract.std),
            "mode": contract.mode,
            "range_basis": _basis(contract.range_basis),
            "resize_basis": _basis(contract.resize_basis),
        },
        "classes": deployment.classes,
    }


def text(value: dict[str, Any]) -> bytes:
    """JSON with a line for each name."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _basis(basis: object) -> str:
    return "unknown" if basis is None else str(basis)


def _tensor(spec: Signature, deployment: Deployment) -> dict[str, Any]:
    scale, zero_point = deployment.steps[spec.name]
    steps = {"scale": float(scale), "zero_point": zero_point} if scale else {}
    return {"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape), **steps}
