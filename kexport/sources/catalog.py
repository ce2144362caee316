"""The forty constructors of `keras.applications`, as data: who can be exported, and what is known about them.

Nothing here imports Keras; a test compares every row with the installed Keras. Sources: parameters counted on
Keras 3.15.1 with the classifier, sizes from the constructors, accuracy, file size, depth and times from the table
of https://keras.io/api/applications/ (batch 32, AMD EPYC with 92 cores, Tesla A100); MobileNetV3 is not in that
table, its top-1 is the one of the Keras docstring.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from kexport.errors import UnknownNameError
from kexport.records import Basis, Preprocessing
from kexport.sources.scalings import SCALINGS, unknown

CENTER_FRACTION = 0.875  # the part of the resized image that the centre crop of an ImageNet evaluation keeps


@dataclass(frozen=True, kw_only=True)
class Application:
    """One constructor. Sizes in pixels (square), accuracy in percent, published values ``None`` where not given.

    ``module`` is the submodule of `keras.applications` with the ``preprocess_input`` of this network; ``mode`` is
    what it does: ``tf``, ``torch``, ``caffe``, or ``raw`` where the network itself takes pixels in [0, 255].
    ``options`` are the constructor's own arguments beyond the common ones.
    """

    name: str
    family: str
    module: str
    mode: str
    default_size: int
    smallest_size: int
    parameters: int
    depth: int | None
    top1_percent: float | None
    top5_percent: float | None
    size_megabytes: float | None
    cpu_milliseconds: float | None
    gpu_milliseconds: float | None
    options: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Family:
    """What all members of a family share; ``module`` is empty where each member has its own."""

    mode: str
    module: str
    smallest_size: int = 32
    options: tuple[str, ...] = ()


_FAMILIES = {
    "xception": _Family(mode="tf", module="xception", smallest_size=71),
    "vgg": _Family(mode="caffe", module=""),
    "resnet": _Family(mode="caffe", module="resnet"),
    "resnet_v2": _Family(mode="tf", module="resnet_v2"),
    "inception_v3": _Family(mode="tf", module="inception_v3", smallest_size=75),
    "inception_resnet_v2": _Family(mode="tf", module="inception_resnet_v2", smallest_size=75),
    "mobilenet": _Family(mode="tf", module="mobilenet", options=("alpha",)),
    "mobilenet_v2": _Family(mode="tf", module="mobilenet_v2", options=("alpha",)),
    "mobilenet_v3": _Family(
        mode="raw", module="mobilenet_v3", options=("alpha", "minimalistic", "include_preprocessing")
    ),
    "densenet": _Family(mode="torch", module="densenet"),
    "nasnet": _Family(mode="tf", module="nasnet"),
    "efficientnet": _Family(mode="raw", module="efficientnet"),
    "efficientnet_v2": _Family(mode="raw", module="efficientnet_v2", options=("include_preprocessing",)),
    "convnext": _Family(mode="raw", module="convnext", options=("include_preprocessing",)),
}

_Number = float | None
_Row = tuple[str, str, int, int, int | None, _Number, _Number, _Number, _Number, _Number]

# name, family, size, parameters, depth, top-1 %, top-5 %, file MB, CPU ms, GPU ms
_ROWS: tuple[_Row, ...] = (
    ("Xception", "xception", 299, 22_910_480, 81, 79.0, 94.5, 88.0, 109.4, 8.1),
    ("VGG16", "vgg", 224, 138_357_544, 16, 71.3, 90.1, 528.0, 69.5, 4.2),
    ("VGG19", "vgg", 224, 143_667_240, 19, 71.3, 90.0, 549.0, 84.8, 4.4),
    ("ResNet50", "resnet", 224, 25_636_712, 107, 74.9, 92.1, 98.0, 58.2, 4.6),
    ("ResNet50V2", "resnet_v2", 224, 25_613_800, 103, 76.0, 93.0, 98.0, 45.6, 4.4),
    ("ResNet101", "resnet", 224, 44_707_176, 209, 76.4, 92.8, 171.0, 89.6, 5.2),
    ("ResNet101V2", "resnet_v2", 224, 44_675_560, 205, 77.2, 93.8, 171.0, 72.7, 5.4),
    ("ResNet152", "resnet", 224, 60_419_944, 311, 76.6, 93.1, 232.0, 127.4, 6.5),
    ("ResNet152V2", "resnet_v2", 224, 60_380_648, 307, 78.0, 94.2, 232.0, 107.5, 6.6),
    ("InceptionV3", "inception_v3", 299, 23_851_784, 189, 77.9, 93.7, 92.0, 42.2, 6.9),
    ("InceptionResNetV2", "inception_resnet_v2", 299, 55_873_736, 449, 80.3, 95.3, 215.0, 130.2, 10.0),
    ("MobileNet", "mobilenet", 224, 4_253_864, 55, 70.4, 89.5, 16.0, 22.6, 3.4),
    ("MobileNetV2", "mobilenet_v2", 224, 3_538_984, 105, 71.3, 90.1, 14.0, 25.9, 3.8),
    ("DenseNet121", "densenet", 224, 8_062_504, 242, 75.0, 92.3, 33.0, 77.1, 5.4),
    ("DenseNet169", "densenet", 224, 14_307_880, 338, 76.2, 93.2, 57.0, 96.4, 6.3),
    ("DenseNet201", "densenet", 224, 20_242_984, 402, 77.3, 93.6, 80.0, 127.2, 6.7),
    ("NASNetMobile", "nasnet", 224, 5_326_716, 389, 74.4, 91.9, 23.0, 27.0, 6.7),
    ("NASNetLarge", "nasnet", 331, 88_949_818, 533, 82.5, 96.0, 343.0, 344.5, 20.0),
    ("EfficientNetB0", "efficientnet", 224, 5_330_571, 132, 77.1, 93.3, 29.0, 46.0, 4.9),
    ("EfficientNetB1", "efficientnet", 240, 7_856_239, 186, 79.1, 94.4, 31.0, 60.2, 5.6),
    ("EfficientNetB2", "efficientnet", 260, 9_177_569, 186, 80.1, 94.9, 36.0, 80.8, 6.5),
    ("EfficientNetB3", "efficientnet", 300, 12_320_535, 210, 81.6, 95.7, 48.0, 140.0, 8.8),
    ("EfficientNetB4", "efficientnet", 380, 19_466_823, 258, 82.9, 96.4, 75.0, 308.3, 15.1),
    ("EfficientNetB5", "efficientnet", 456, 30_562_527, 312, 83.6, 96.7, 118.0, 579.2, 25.3),
    ("EfficientNetB6", "efficientnet", 528, 43_265_143, 360, 84.0, 96.8, 166.0, 958.1, 40.4),
    ("EfficientNetB7", "efficientnet", 600, 66_658_687, 438, 84.3, 97.0, 256.0, 1578.9, 61.6),
    ("EfficientNetV2B0", "efficientnet_v2", 224, 7_200_312, None, 78.7, 94.3, 29.0, None, None),
    ("EfficientNetV2B1", "efficientnet_v2", 240, 8_212_124, None, 79.8, 95.0, 34.0, None, None),
    ("EfficientNetV2B2", "efficientnet_v2", 260, 10_178_374, None, 80.5, 95.1, 42.0, None, None),
    ("EfficientNetV2B3", "efficientnet_v2", 300, 14_467_622, None, 82.0, 95.8, 59.0, None, None),
    ("EfficientNetV2S", "efficientnet_v2", 384, 21_612_360, None, 83.9, 96.7, 88.0, None, None),
    ("EfficientNetV2M", "efficientnet_v2", 480, 54_431_388, None, 85.3, 97.4, 220.0, None, None),
    ("EfficientNetV2L", "efficientnet_v2", 480, 119_027_848, None, 85.7, 97.5, 479.0, None, None),
    ("ConvNeXtTiny", "convnext", 224, 28_589_128, None, 81.3, None, 109.42, None, None),
    ("ConvNeXtSmall", "convnext", 224, 50_223_688, None, 82.3, None, 192.29, None, None),
    ("ConvNeXtBase", "convnext", 224, 88_591_464, None, 85.3, None, 338.58, None, None),
    ("ConvNeXtLarge", "convnext", 224, 197_767_336, None, 86.3, None, 755.07, None, None),
    ("ConvNeXtXLarge", "convnext", 224, 350_196_968, None, 86.7, None, 1310.0, None, None),
    ("MobileNetV3Small", "mobilenet_v3", 224, 2_554_968, None, 68.1, None, None, None, None),
    ("MobileNetV3Large", "mobilenet_v3", 224, 5_507_432, None, 75.6, None, None, None, None),
)


def _application(row: _Row) -> Application:
    name, family, size, parameters, depth, top1, top5, megabytes, cpu, gpu = row
    shared = _FAMILIES[family]
    return Application(
        name=name,
        family=family,
        module=shared.module or name.lower(),
        mode=shared.mode,
        default_size=size,
        smallest_size=shared.smallest_size,
        parameters=parameters,
        depth=depth,
        top1_percent=top1,
        top5_percent=top5,
        size_megabytes=megabytes,
        cpu_milliseconds=cpu,
        gpu_milliseconds=gpu,
        options=shared.options,
    )


APPLICATIONS: tuple[Application, ...] = tuple(_application(row) for row in _ROWS)
FAMILIES: tuple[str, ...] = tuple(_FAMILIES)
_BY_NAME = {application.name: application for application in APPLICATIONS}


def application(name: str) -> Application:
    """The row with exactly this name; raises UnknownNameError, which offers the closest name."""
    if name not in _BY_NAME:
        raise _unknown(name, _BY_NAME)
    return _BY_NAME[name]


def select(sources: Sequence[str]) -> tuple[Application, ...]:
    """What the user named, each once, in the order of the request and within one source in catalog order.

    A source is, tried in this order: the exact name of an application; the name of a family, where case,
    hyphens and underscores do not count (``EfficientNet``, ``mobilenet-v3``); a glob over application names
    (``ResNet*V2``), which minds the case. Raises UnknownNameError when a source names nothing.
    """
    chosen: dict[str, Application] = {}
    for source in sources:
        chosen.update((found.name, found) for found in _resolve(source))
    return tuple(chosen.values())


def preprocessing(application: Application, size: tuple[int, int] | None = None, *, channels: int = 3) -> Preprocessing:
    """How an image becomes the input of this network at ``size`` (height, width); its default size when None.

    Keras's preprocessing is for RGB. A network of other ``channels`` is fed as it was trained: the contract says so
    and changes nothing.
    """
    target = size or (application.default_size, application.default_size)
    scaling = SCALINGS[application.mode]
    if channels != len(scaling.mean):
        scaling = replace(unknown(channels), mode="as trained")
    return Preprocessing(
        mode=scaling.mode,
        size=target,
        channel_order=scaling.channel_order,
        scale=scaling.scale,
        mean=scaling.mean,
        std=scaling.std,
        resize_shorter_side=shorter_side(target),
        range_basis=Basis.READ,
        resize_basis=Basis.ASSUMED,
    )


def shorter_side(size: tuple[int, int]) -> int:
    """The side before the centre crop of an ImageNet evaluation."""
    return round(max(size) / CENTER_FRACTION)


def _resolve(source: str) -> tuple[Application, ...]:
    if source in _BY_NAME:
        return (_BY_NAME[source],)
    plain = _plain(source)
    found = tuple(row for row in APPLICATIONS if _plain(row.family) == plain or fnmatchcase(row.name, source))
    if not found:
        raise _unknown(source, (*_BY_NAME, *_FAMILIES))
    return found


def _plain(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "")


def _unknown(name: str, legal: Iterable[str]) -> UnknownNameError:
    return UnknownNameError(kind="model", value=name, legal=legal, hint="kexport list models")


def input_range(application: Application) -> tuple[float, float]:
    """The range that pixels in [0, 255] have after the network's preprocessing: (lowest, highest)."""
    contract = preprocessing(application)
    mean, std = contract.mean, contract.std
    low = min(-m / s for m, s in zip(mean, std, strict=True))
    high = max((255.0 * contract.scale - m) / s for m, s in zip(mean, std, strict=True))
    return low, high
