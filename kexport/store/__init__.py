"""The artifact directory: complete or absent files, records, the manifest and the lock.

Layout::

    DIR/<Model>/<Model>-float32.onnx              an artifact; a SavedModel is a folder
    DIR/<Model>/<Model>-float32.onnx.json         its record
    DIR/<Model>/<Model>-reference-<12 digits>.npz what Keras answered, by which it was judged (`references`)
    DIR/<Model>/<Model>-answers-<12 digits>.npz   what Keras answered on photographs
    DIR/manifest.json                             sha256 and size of every file above, written last
    DIR/.kexport.lock, DIR/.kexport.holder        the lock and who holds it
    DIR/.kexport-<pid>-<random>/                  staging of a running process

Reports and notes directly in DIR are nobody's business; every other file, link or FIFO is extra, and told
by `verify`. Everything is written beside its final place, synced, and renamed over it.
"""

from __future__ import annotations

from kexport.store.directory import (
    FAILED,
    forget_failure,
    read_record,
    read_records,
    record_path,
    write_failure,
    write_record,
)
from kexport.store.lock import HOLDER, LOCK, abandon, lock
from kexport.store.manifest import MANIFEST, MANIFEST_SCHEMA, write_manifest
from kexport.store.signature import BOM, SIGNATURE, check, sign
from kexport.store.verification import verify

__all__ = [
    "BOM",
    "FAILED",
    "HOLDER",
    "LOCK",
    "MANIFEST",
    "MANIFEST_SCHEMA",
    "SIGNATURE",
    "abandon",
    "check",
    "forget_failure",
    "lock",
    "read_record",
    "read_records",
    "record_path",
    "sign",
    "verify",
    "write_failure",
    "write_manifest",
    "write_record",
]
