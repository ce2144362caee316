"""Photographs to network inputs, as `kexport.records.Preprocessing` states it: one way for every reader.

Keras, every artifact and the calibration are fed the very same arrays. The steps, in this order:

1. The file is decoded to 8-bit RGB (grey for a network of one channel) as Pillow does it; an EXIF orientation is
   not applied, as Keras's own `load_img` and `tf.io.decode_jpeg` do not, unless ``upright`` asks for it.
2. Bilinear resize, Pillow's (with antialiasing when it shrinks): for ``crop`` so that the shorter side is
   ``resize_shorter_side``, for ``pad`` so that the image just fits into ``size``, for ``squash`` to ``size``; a side
   that follows is rounded to the nearest pixel. Nothing happens where it fits already.
3. The centre crop of ``size``, with black where the image is smaller; where the margin is odd, the smaller half is
   above and to the left.
4. ``(pixel * scale - mean) / std`` in ``channel_order``, in float64, rounded once to float32.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport.errors import MissingDependencyError, SourceError, UsageError
from kexport.files import regular
from kexport.records import Preprocessing, Resize

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
MOST_PIXELS = 100_000_000
MOST_ELONGATED = 20
PATCH = 512
_MODES = {3: "RGB", 1: "L"}
_PROGRAMS = {"EPS", "WMF", "EMF"}
"""Formats that Pillow gives to Ghostscript or to the system to draw."""
_ORIENTATION = 0x0112  # the EXIF tag
_TURNS = {
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270", 7: "TRANSVERSE",
    8: "ROTATE_90",
}  # fmt: skip
Pixels = npt.NDArray[np.uint8]
Images = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A folder's images in the order of their relative names, and the names of the files that are none."""

    folder: Path
    images: tuple[Path, ...]
    left_out: tuple[str, ...]

    def name(self, path: Path) -> str:
        """The path below the folder, with ``/`` between its parts."""
        return path.relative_to(self.folder).as_posix()


def listing(folder: Path) -> Listing:
    """Every image below ``folder``, at any depth, told by its suffix; hidden files and folders do not count."""
    files = [path for path in folder.rglob("*") if path.is_file() and not _hidden(path, folder)]
    ordered = sorted(files, key=lambda path: path.relative_to(folder).as_posix())
    images = tuple(path for path in ordered if path.suffix.lower() in SUFFIXES)
    others = (path.relative_to(folder).as_posix() for path in ordered if path.suffix.lower() not in SUFFIXES)
    return Listing(folder=folder, images=images, left_out=tuple(others))


def read(path: Path, contract: Preprocessing, *, upright: bool = False) -> tuple[Pixels, Pixels]:
    """One file: ``(centre, fitted)`` uint8: at most `PATCH` pixels a side before any resize, and (*size, channels).

    ``upright`` turns the image as its EXIF orientation says, as every viewer shows it. Raises SourceError, which names
    the file, if it is damaged, too large, a strip, or has more than 8 bits;
    UsageError if the network's channels are not those of a photograph.
    """
    channels = len(contract.mean)
    if channels not in _MODES:
        raise UsageError(
            f"the network takes {channels} channels, photographs have 3 or 1",
            hint="--calibration FILE.npz with arrays of the network's own input",
        )
    image = _decode(path, _MODES[channels], upright=upright)
    return _centre(image, (min(PATCH, image.height), min(PATCH, image.width)), channels), _fit(image, contract)


def prepare(pixels: npt.NDArray[Any], contract: Preprocessing) -> Images:
    """``(..., channels)`` pixels in [0, 255], RGB, to what the network takes, float32."""
    ordered = pixels[..., ::-1] if contract.channel_order == "BGR" else pixels
    scaled = (ordered * contract.scale - np.array(contract.mean)) / np.array(contract.std)
    return np.asarray(scaled, np.float32)


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _decode(path: Path, mode: str, *, upright: bool) -> Any:
    pillow = _pillow()
    try:
        with regular(path) as file, pillow.open(file, formats=_formats(pillow)) as image:
            _check_form(path, image)
            turn = _TURNS.get(_orientation(image)) if upright else None
            found = image.convert(mode)
            return found if turn is None else found.transpose(pillow.Transpose[turn])
    except (OSError, SyntaxError, ValueError, pillow.DecompressionBombError) as error:
        raise SourceError(
            f"{path}: the image cannot be read: {_why(error, pillow)}",
            hint="replace or remove the file, then run again",
        ) from error


def _why(error: Exception, pillow: Any) -> object:
    if isinstance(error, FileNotFoundError):
        return "there is no such file or folder"
    if isinstance(error, pillow.UnidentifiedImageError):
        return f"it holds no picture, expected {', '.join(SUFFIXES)}"
    return (error.strerror if isinstance(error, OSError) else None) or error


def _formats(pillow: Any) -> list[str]:
    """What a photograph may be by its content: not PostScript and the like, for which Pillow starts a program."""
    pillow.init()
    return [name for name in pillow.ID if name not in _PROGRAMS]


def _orientation(image: Any) -> Any:
    """1 to 8, what else stands there, or None; EXIF data that are damaged say nothing, and the pixels are whole."""
    try:
        return image.getexif().get(_ORIENTATION)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error):
        return None


def _check_form(path: Path, image: Any) -> None:
    width, height = image.size
    if width * height > MOST_PIXELS or max(width, height) > MOST_ELONGATED * min(width, height):
        raise SourceError(
            f"{path}: {width}x{height} pixels; expected at most {MOST_PIXELS // 10**6} million, and sides of at most "
            f"{MOST_ELONGATED} to 1",
            hint="replace or remove the file, then run again",
        )
    if image.mode.startswith(("I", "F")):
        raise SourceError(
            f"{path}: pixels of mode {image.mode}; expected 8 bits per channel", hint="convert the file to 8-bit RGB"
        )


def _fit(image: Any, contract: Preprocessing) -> Pixels:
    size = _resized(image.size, contract)
    if size != image.size:
        image = image.resize(size, _pillow().Resampling.BILINEAR)
    return _centre(image, contract.size, len(contract.mean))


def _resized(found: tuple[int, int], contract: Preprocessing) -> tuple[int, int]:
    """Width and height after the resize."""
    height, width = contract.size
    if contract.resize is Resize.SQUASH:
        return width, height
    if contract.resize is Resize.PAD:
        factor = min(width / found[0], height / found[1])
        return min(width, max(1, round(found[0] * factor))), min(height, max(1, round(found[1] * factor)))
    short = contract.resize_shorter_side
    factor = short / min(found)
    return max(short, round(found[0] * factor)), max(short, round(found[1] * factor))


def _centre(image: Any, size: tuple[int, int], channels: int) -> Pixels:
    height, width = size
    left, top = int((image.width - width) / 2), int((image.height - height) / 2)
    crop = image.crop((left, top, left + width, top + height))
    return np.asarray(crop, np.uint8).reshape(height, width, channels)


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingDependencyError(
            f"Pillow is needed to read photographs: {error}", hint="pip install 'kexport[cpu]'"
        ) from error
    return Image
