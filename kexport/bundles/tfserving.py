"""A model folder for TensorFlow Serving: a version of the SavedModel, with the golden input as its warm-up.

The warm-up file is ``assets.extra/tf_serving_warmup_requests`` (tensorflow.org/tfx/serving/saved_model_warmup): a
TFRecord of one PredictionLog, which is written here field by field.
"""

from __future__ import annotations

import json

import numpy as np

from kexport import files
from kexport.bundles import Bundle, Files, common, tfrecord
from kexport.bundles.deployment import Deployment
from kexport.bundles.golden import Array, Golden
from kexport.bundles.tfrecord import integer, message, text

VERSION, SIGNATURE, WARMUP = 1, "serving_default", "assets.extra/tf_serving_warmup_requests"
_TYPES = {"float32": 1, "float64": 2, "int32": 3, "uint8": 4, "int16": 5, "int8": 6, "int64": 9, "float16": 19}


def warmup(name: str, input_name: str, values: Array) -> bytes:
    """The warm-up file for one request."""
    shape = b"".join(message(2, integer(1, size)) for size in values.shape)
    numbers = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
    tensor = integer(1, _TYPES[values.dtype.name]) + message(2, shape) + message(4, numbers)
    entry = text(1, input_name) + message(2, tensor)
    request = message(1, text(1, name) + text(3, SIGNATURE)) + message(2, entry)
    return tfrecord.record(message(6, message(1, request)))  # PredictionLog.predict_log.request


def _files(deployment: Deployment, golden: Golden) -> Files:
    name = deployment.slug
    folder = f"models/{name}/{VERSION}"
    inside = {files.relative(path, deployment.path): path.read_bytes() for path in files.files_of(deployment.path)}
    rows = np.repeat(golden.inputs[:1], deployment.image.shape[0] or 1, axis=0)
    return {
        **{f"{folder}/{path}": content for path, content in inside.items()},
        f"{folder}/{WARMUP}": warmup(name, deployment.image.name, rows),
        "client.py": common.client("tfserving_client.py"),
        "server.json": (json.dumps({"model": name}) + "\n").encode(),
    }


def _readme(deployment: Deployment) -> str:
    name = deployment.slug
    return (
        "```\n"
        f"docker run --rm -p8501:8501 -v $PWD/models/{name}:/models/{name} -e MODEL_NAME={name} tensorflow/serving\n"
        "python client.py localhost:8501      # the golden inputs through the server\n"
        "```\n\n"
        f"The server warms up with one golden input (`{WARMUP}`). The SavedModel was run with TensorFlow; no "
        "server was started here."
    )


BUNDLE = Bundle(
    name="tfserving", summary="a model for TensorFlow Serving", formats=("savedmodel",), files=_files, readme=_readme
)
