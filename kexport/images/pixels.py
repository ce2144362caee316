"""Network inputs back to the pixels that they were: the way of `kexport.images.photographs.prepare`, backwards."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kexport.errors import UsageError
from kexport.images.photographs import Images, Pixels, prepare
from kexport.records import Preprocessing


def nearest(values: npt.NDArray[Any], contract: Preprocessing) -> Pixels:
    """The pixels in [0, 255], RGB, whose values are nearest to these."""
    real = (np.asarray(values, np.float64) * np.array(contract.std) + np.array(contract.mean)) / contract.scale
    ordered = real[..., ::-1] if contract.channel_order == "BGR" else real
    return np.asarray(np.clip(np.rint(ordered), 0, 255), np.uint8)


def snapped(values: npt.NDArray[Any], contract: Preprocessing) -> Images:
    """The nearest values that pixels have."""
    return prepare(nearest(values, contract), contract)


def exactly(values: npt.NDArray[Any], contract: Preprocessing) -> Pixels:
    """The pixels whose values these are. Raises UsageError where no pixels have them."""
    found = nearest(values, contract)
    if not np.array_equal(prepare(found, contract), np.asarray(values, np.float32)):
        raise UsageError(
            "--embed-preprocessing: the inputs that the file is checked with are no pixels after the contract",
            hint="--calibration and --eval with photographs, or arrays of uint8 pixels",
        )
    return found
