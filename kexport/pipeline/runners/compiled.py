"""What JAX has compiled, kept between processes: it compiles every operation of every shape by itself.

It lies beside what planning int8 found out (`kexport.pipeline.remembered`), in a folder for each kind of processor, as
it is machine code. What is found there is what would be compiled: DenseNet121 is built in 14 s instead of 37.
"""

from __future__ import annotations

import os
from hashlib import blake2b

from kexport import machine
from kexport.pipeline import remembered
from kexport.sources import backend

MOST_BYTES = 2**28
THEIRS = ("JAX_COMPILATION_CACHE", "JAX_PERSISTENT_CACHE", "JAX_ENABLE_COMPILATION_CACHE")


def environment() -> dict[str, str]:
    """The variables by which JAX keeps it, as its documentation has them; nothing without JAX or a folder for it.

    Nothing either where the user has said anything of JAX's cache: that may be one of theirs, with another limit.
    """
    if not backend.installed("jax") or any(name.startswith(THEIRS) for name in os.environ):
        return {}
    processor = repr((machine.processor(), machine.instructions()))
    place = remembered.folder(f"jax-{blake2b(processor.encode(), digest_size=6).hexdigest()}")
    if place is None:
        return {}
    return {
        "JAX_COMPILATION_CACHE_DIR": str(place),
        "JAX_COMPILATION_CACHE_MAX_SIZE": str(MOST_BYTES),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
