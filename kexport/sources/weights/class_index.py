"""The names of ImageNet's classes: ``imagenet_class_index.json`` of Keras, from its cache, or downloaded into it.

It is only downloaded where ImageNet weights are: nothing else asks for the network. Without it artifacts have no
labels, and their records say why: names are no reason to fail.
"""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path

from kexport.errors import DownloadError
from kexport.sources.weights import imagenet

NAME = "imagenet_class_index.json"
MD5 = "c2c37ea517e94d9795004a39431a14cb"  # the hash that `keras.applications.imagenet_utils` states


def find(*, download: bool) -> tuple[Path | None, str]:
    """The file, or None and why there is none."""
    from keras.src.utils.file_utils import validate_file

    try:
        target = imagenet.cache_folder() / "models" / NAME
        if download and not target.exists():
            _download(target)
    except DownloadError as error:
        return None, f"ImageNet's names are in {NAME}, which could not be had: {error.message}"
    if not target.exists():
        return None, f"ImageNet's names are in {NAME}, which is not in Keras's cache"
    if not validate_file(str(target), MD5):
        return None, f"ImageNet's names: {NAME} in Keras's cache is damaged, its hash is not {MD5}"
    return target, ""


def _download(target: Path) -> None:
    from keras.src.applications.imagenet_utils import CLASS_INDEX_PATH
    from keras.src.utils import file_utils

    request = imagenet.Request(model=NAME, url=CLASS_INDEX_PATH, target=target, file_hash=MD5, what="class names of")
    with redirect_stdout(sys.stderr):
        imagenet.download(
            request,
            lambda: str(file_utils.get_file(NAME, CLASS_INDEX_PATH, cache_subdir="models", file_hash=MD5)),
        )
