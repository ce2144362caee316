"""How Keras calls the ImageNet weights of an application in its cache: known before a network is built.

Read from `keras.applications` of Keras 3.15; a test compares it with what Keras asks for. A name that is wrong here is
harmless: the file is checked when Keras asks for it, only later.
"""

from __future__ import annotations

import re

from kexport.sources import catalog
from kexport.specs import ModelSpec

_KERNELS = "weights_tf_dim_ordering_tf_kernels"
_ALPHAS = {1.0: "1_0", 0.75: "7_5", 0.5: "5_0"}
_SIZES = {"mobilenet": (128, 160, 192, 224), "mobilenet_v2": (96, 128, 160, 192, 224)}
_USUAL_SIZE = 224
_STEMS = {"InceptionV3": "inception_v3", "InceptionResNetV2": "inception_resnet_v2"}
_SNAKE = re.compile(r"(?<=[a-z])(?=[A-Z])")


def weights_file(spec: ModelSpec) -> str:
    """The file's name in the folder ``models`` of the cache."""
    family, top = catalog.application(spec.application).family, spec.include_top
    if family.startswith("mobilenet"):
        return _mobilenet(spec, family)
    ending, stem = ("" if top else "_notop"), spec.application.lower()
    if family == "nasnet":
        return f"{_SNAKE.sub('_', spec.application.replace('NASNet', 'nasnet')).lower()}{'' if top else '_no_top'}.h5"
    if family == "convnext":
        return f"convnext_{spec.application.removeprefix('ConvNeXt').lower()}{ending}.h5"
    if family == "efficientnet_v2":
        return f"efficientnetv2-{spec.application.removeprefix('EfficientNetV2').lower()}{ending}.h5"
    if family == "efficientnet":
        return f"{stem}{ending}.h5"
    return f"{_STEMS.get(spec.application, stem)}_{_KERNELS}{ending}.h5"


def _mobilenet(spec: ModelSpec, family: str) -> str:
    alpha, top = float(spec.alpha or 1.0), spec.include_top
    if family == "mobilenet_v3":
        kind = f"{spec.application.removeprefix('MobileNetV3').lower()}{'_minimalistic' if spec.minimalistic else ''}"
        return f"weights_mobilenet_v3_{kind}_224_{alpha}_float{'' if top else '_no_top_v2'}.h5"
    size = _size(spec, _SIZES[family])
    if family == "mobilenet_v2":
        return f"mobilenet_v2_{_KERNELS}_{alpha}_{size}{'' if top else '_no_top'}.h5"
    return f"mobilenet_{_ALPHAS.get(alpha, '2_5')}_{size}_tf{'' if top else '_no_top'}.h5"


def _size(spec: ModelSpec, known: tuple[int, ...]) -> int:
    height, width, _ = spec.input_shape or (_USUAL_SIZE, _USUAL_SIZE, 3)
    return height if height == width and height in known else _USUAL_SIZE
