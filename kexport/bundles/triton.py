"""A model repository for NVIDIA Triton Inference Server: config.pbtxt, labels, warm-up with the golden input.

Where ``max_batch_size`` is above 0 the dimensions have no batch (triton-inference-server/server#2387); a file with a
fixed batch has ``max_batch_size`` 0 and all of its dimensions.
"""

from __future__ import annotations

import json

from kexport.bundles import Bundle, Files, common
from kexport.bundles.deployment import Deployment, plain
from kexport.bundles.golden import Golden
from kexport.records import Signature

REPOSITORY, LARGEST_BATCH, LABELS = "model_repository", 8, "labels.txt"
_TYPES = {
    "float32": "TYPE_FP32", "float16": "TYPE_FP16", "int8": "TYPE_INT8", "uint8": "TYPE_UINT8", "int16": "TYPE_INT16",
    "int32": "TYPE_INT32", "int64": "TYPE_INT64", "bool": "TYPE_BOOL",
}  # fmt: skip


def name_of(deployment: Deployment) -> str:
    """The model's name on the server: letters, digits, ``-`` and ``_``."""
    return f"{deployment.slug}-{plain(deployment.scheme)}"


def config(deployment: Deployment) -> str:
    """``config.pbtxt``."""
    batched = deployment.image.shape[0] is None
    labels = LABELS if deployment.labels and deployment.classes else ""
    outputs = ",\n".join(_tensor(spec, batched=batched, labels=labels) for spec in deployment.outputs)
    dimensions = _dimensions(deployment.image, batched=batched)
    return (
        f"name: {json.dumps(name_of(deployment))}\n"
        'backend: "onnxruntime"\n'
        'default_model_filename: "model.onnx"\n'
        f"max_batch_size: {LARGEST_BATCH if batched else 0}\n"
        f"input [\n{_tensor(deployment.image, batched=batched)}\n]\n"
        f"output [\n{outputs}\n]\n"
        "instance_group [ { kind: KIND_CPU } ]\n" + ("dynamic_batching { }\n" if batched else "") + "model_warmup [ {\n"
        '  name: "golden"\n'
        "  batch_size: 1\n"
        f"  inputs {{ key: {json.dumps(deployment.image.name)} value {{ data_type: {_TYPES[deployment.image.dtype]} "
        f'dims: [ {dimensions} ] input_data_file: "golden-0" }} }}\n'
        "} ]\n"
    )


def _tensor(spec: Signature, *, batched: bool, labels: str = "") -> str:
    named = f" label_filename: {json.dumps(labels)}" if labels else ""
    dimensions = _dimensions(spec, batched=batched)
    return f"  {{ name: {json.dumps(spec.name)} data_type: {_TYPES[spec.dtype]} dims: [ {dimensions} ]{named} }}"


def _dimensions(spec: Signature, *, batched: bool) -> str:
    sizes = spec.shape[1:] if batched else spec.shape
    return ", ".join("-1" if size is None else str(size) for size in sizes)


def _files(deployment: Deployment, golden: Golden) -> Files:
    folder = f"{REPOSITORY}/{name_of(deployment)}"
    rows = deployment.image.shape[0] or 1
    found = {
        f"{folder}/1/model.onnx": deployment.path.read_bytes(),
        f"{folder}/config.pbtxt": config(deployment).encode(),
        f"{folder}/warmup/golden-0": golden.inputs[0].tobytes() * rows,
        "client.py": common.client("triton_client.py"),
        "server.json": (json.dumps({"model": name_of(deployment)}) + "\n").encode(),
    }
    if deployment.labels:
        found[f"{folder}/{LABELS}"] = common.labels(deployment)
    return found


def _refusal(deployment: Deployment) -> str:
    strange = [spec.dtype for spec in (*deployment.inputs, *deployment.outputs) if spec.dtype not in _TYPES]
    return f"Triton has no type for {', '.join(strange)}" if strange else ""


def _readme(deployment: Deployment) -> str:
    return (
        "```\n"
        "docker run --rm -p8000:8000 -v $PWD/model_repository:/models \\\n"
        "  nvcr.io/nvidia/tritonserver:YY.MM-py3 tritonserver --model-repository=/models\n"
        "pip install 'tritonclient[http]' numpy\n"
        "python client.py localhost:8000          # the golden inputs through the server\n"
        "```\n\n"
        f"The model is called `{name_of(deployment)}`. It runs on the CPU; for a GPU say KIND_GPU in config.pbtxt. "
        "config.pbtxt was read back with Triton's own parser; no server was started here."
    )


BUNDLE = Bundle(
    name="triton", summary="a repository for Triton", formats=("onnx",), files=_files, readme=_readme, refusal=_refusal
)
