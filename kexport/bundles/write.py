"""An artifact becomes a bundle: read with what is known of it, filled, written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kexport import bundles
from kexport.bundles import archive, common, deployment


def bundle(
    artifact: Path,
    name: str,
    place: Path | None = None,
    *,
    archived: bool = False,
    runtime_files: Path | None = None,
    labels: Path | None = None,
    preprocessing: str | None = None,
    resize: str | None = None,
) -> Path:
    """Write the bundle called ``name`` of the artifact at ``artifact``; where it lies now.

    ``place`` is the folder or archive to write, ``<artifact>-<name>`` in the current folder unless said;
    ``runtime_files`` is a folder with files of the runtime, for a bundle that holds them; the last three state what the
    file does not say. Raises UnknownNameError, UsageError for what cannot be bundled so or a place that is taken,
    StoreError.
    """
    found = bundles.find(name)
    read = deployment.read(artifact, labels=labels, preprocessing=preprocessing, resize=resize)
    what = replace(read, runtime_files=runtime_files)
    target = place or Path(f"{artifact.name.replace('.', '-')}-{name}{archive.SUFFIX if archived else ''}")
    return archive.write(common.contents(found, what), target, archived=archived)
