"""What every bundle holds, and the bundle as a whole: the parts that all share, its own files, checksums last."""

from __future__ import annotations

import hashlib
from pathlib import Path

from kexport import files
from kexport.bundles import Bundle, Files, contract, golden, licences, model_card
from kexport.bundles.deployment import Deployment
from kexport.bundles.golden import Golden
from kexport.records import encode
from kexport.reports.md import escape

CHECKSUMS = "SHA256SUMS"


def contents(bundle: Bundle, deployment: Deployment) -> Files:
    """Every file of the bundle by name. Raises UsageError where the artifact cannot be bundled so."""
    bundle.require(deployment)
    arrays = golden.of(deployment)
    found = {**shared(deployment, arrays), **bundle.files(deployment, arrays)}
    found["README.md"] = readme(bundle, deployment).encode()
    return {**found, CHECKSUMS: checksums(found)}


def shared(deployment: Deployment, arrays: Golden) -> Files:
    """Contract, labels, golden arrays, card, licences, and the record if there is one.

    The model itself is each bundle's own to place.
    """
    found = {
        "contract.json": contract.text(contract.of(deployment)),
        "golden/golden.json": contract.text(golden.described(arrays, deployment)),
        "MODEL_CARD.md": model_card.text(deployment).encode(),
        "LICENCES.md": licences.text(deployment).encode(),
        **golden.files(arrays),
    }
    if deployment.record is not None:
        found["record.json"] = encode(deployment.record).encode()
    if deployment.labels:
        found["labels.txt"] = labels(deployment)
    return found


def labels(deployment: Deployment) -> bytes:
    """One name a line, in the order of the outputs."""
    return "".join(f"{' '.join(name.split())}\n" for name in deployment.labels).encode()


def model(deployment: Deployment) -> Files:
    """The artifact under the name ``model``; a folder with all its files."""
    if not deployment.path.is_dir():
        return {deployment.model_file: deployment.path.read_bytes()}
    inside = files.files_of(deployment.path)
    return {f"model/{files.relative(path, deployment.path)}": path.read_bytes() for path in inside}


def readme(bundle: Bundle, deployment: Deployment) -> str:
    """One screen: what this is, what to type, what lies where."""
    return (
        f"# {escape(deployment.title)}: {bundle.summary}\n\n"
        f"{bundle.readme(deployment).strip()}\n\n"
        "`contract.json` says how an image becomes the input, `golden/` has inputs and the outputs that belong to "
        "them, `MODEL_CARD.md` what was measured, `LICENCES.md` what is known of the weights' licence. "
        f"`sha256sum -c {CHECKSUMS}` checks all files.\n"
    )


def checksums(found: Files) -> bytes:
    """As ``sha256sum`` prints and checks them."""
    return "".join(f"{hashlib.sha256(found[name]).hexdigest()}  {name}\n" for name in sorted(found)).encode()


def client(name: str) -> bytes:
    """A file of ``kexport/bundles/clients/``, as it goes into bundles."""
    return (Path(__file__).with_name("clients") / name).read_bytes()
