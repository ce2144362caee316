"""An artifact becomes a bundle: read with what is known of it, filled, written."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from pathlib import Path

from kexport import bundles
from kexport.bundles import archive, common, deployment
from kexport.options.place import here

Place = str | PathLike[str]


def bundle(
    artifact: Place,
    name: str,
    output: Place | None = None,
    *,
    archived: bool = False,
    runtime_files: Place | None = None,
    labels: Place | None = None,
    preprocessing: Place | None = None,
    resize: str | None = None,
) -> Path:
    """Put an artifact with client code, golden inputs and outputs, model card and checksums into ``output``.

    ``name`` is where it goes: ``python``, ``cpp``, ``web`` and so on; the path that was written comes back.
    ``output`` is a folder, or an archive where ``archived``; ``<artifact>-<name>`` in the current folder unless said.
    ``runtime_files`` is a folder with files of the runtime, for a bundle that holds them; the last three state what the
    file does not say. Raises UnknownNameError, UsageError for what cannot be bundled so or a place that is taken,
    StoreError.
    """
    found, path = bundles.find(name), here(artifact, taker="bundle", hint="kexport.verify({url!r})")
    runtime = None if runtime_files is None else _here(runtime_files, "runtime_files")
    usual = f"{path.name.replace('.', '-')}-{name}{archive.SUFFIX if archived else ''}"
    place = _here(output, "output") if output else Path(usual)
    read = deployment.read(
        path, labels=None if labels is None else Path(labels),
        preprocessing=None if preprocessing is None else str(preprocessing), resize=resize,
    )  # fmt: skip
    return archive.write(common.contents(found, replace(read, runtime_files=runtime)), place, archived=archived)


def _here(given: Place, word: str) -> Path:
    return here(given, taker=f"{word} of bundle", hint=f"{word}='folder'")
