"""A signature over everything that the manifest names, with a key of one's own: made and checked offline.

The format is that of sigstore's model-signing: a bundle with a DSSE envelope around an in-toto statement, whose
predicate ``https://model_signing/signature/v1.0`` lists every file with its sha256. Keys are PEM files of an elliptic
curve (P-256, P-384, P-521). What is not signed, the reports directly in the directory, is in the list of what to
ignore. Source: https://github.com/sigstore/model-transparency.
"""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kexport.errors import MissingDependencyError, SourceError, StoreError
from kexport.files import MOST_BYTES, STAGING, file_digest, foreign_errors, publish, read
from kexport.store.listing import kind_of
from kexport.store.lock import HOLDER, LOCK
from kexport.store.manifest import MANIFEST, named
from kexport.store.verification import verify

SIGNATURE = "kexport.sig"
BOM = "bom.cdx.json"
MAX_BYTES = 64 * 2**20
MAX_KEY_BYTES = 64 * 2**10
MAKE_KEY = "openssl ecparam -name prime256v1 -genkey -noout -out key.pem"
MAKE_PUBLIC = "openssl ec -in key.pem -pubout -out public.pem"


def sign(directory: Path, key: Path) -> Path:
    """Sign a directory in which nothing is wrong; the path of the signature, which replaces an older one.

    Raises StoreError where `verify` finds a problem, SourceError for a key that cannot sign,
    MissingDependencyError without the extra.
    """
    if problems := verify(directory):
        raise StoreError(
            f"{directory} is not signed, because it is not as its manifest says: {'; '.join(problems[:3])}",
            hint=f"kexport verify {directory}",
        )
    with _mistakes_of(key, MAKE_KEY), foreign_errors(directory):
        signer = _signing().signing.Config().use_elliptic_key_signer(private_key=key)
        signer.set_hashing_config(_hashing(directory, _signed_names(directory)))
        with tempfile.TemporaryDirectory(prefix=STAGING, dir=directory) as folder:
            staged = Path(folder) / SIGNATURE
            signer.sign(directory, staged)
            publish(staged, directory / SIGNATURE)
    return directory / SIGNATURE


def check(directory: Path, key: Path) -> tuple[str, ...]:
    """Every problem of the directory, as `verify` tells them, and of everything that was signed with that key.

    ``key`` is the public one. Raises SourceError for a file that is none, MissingDependencyError without the extra.
    """
    return (*verify(directory), *_check_signature(directory, key))


def _check_signature(directory: Path, key: Path) -> Iterator[str]:
    try:
        signed = _signed_digests(read(directory / SIGNATURE, limit_bytes=MAX_BYTES))
    except FileNotFoundError:
        yield f"{SIGNATURE}: missing: the directory is not signed"
        return
    except OSError as error:
        yield f"{SIGNATURE}: cannot be read: {error.strerror}"
        return
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        yield f"{SIGNATURE}: damaged: expected a bundle of model-signing"
        return
    if reason := _not_of_key(directory, key):
        yield f"{SIGNATURE}: {reason}"
        return
    yield from _changes(directory, signed)


def _not_of_key(directory: Path, key: Path) -> str | None:
    """Why the signature is not one of this key; None where it is.

    The library first checks the signature and then the files. It is given an empty folder in place of the files, which
    may be links or FIFOs: its word "mismatch" says that the signature itself holds. The files are compared after.
    """
    from cryptography.exceptions import InvalidSignature

    verifying = _signing().verifying
    with _mistakes_of(key, MAKE_PUBLIC):
        verifier = verifying.Config().use_elliptic_key_verifier(public_key=key)
    with tempfile.TemporaryDirectory(prefix="kexport-") as empty:
        try:
            verifier.verify(Path(empty), directory / SIGNATURE)
        except InvalidSignature:
            return "edited: the signature is not that of its content"
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            if str(error).startswith("Signature mismatch"):
                return None
            other = "Key mismatch" in str(error)
            return "made with another key" if other else f"not valid: {next(iter(str(error).splitlines()), '')}"
    return "it signs nothing"


def _signed_digests(content: bytes) -> dict[str, str]:
    """What a signature says of each file. Raises one of many errors for what is no bundle."""
    payload = json.loads(base64.b64decode(json.loads(content)["dsseEnvelope"]["payload"], validate=True))
    resources: list[dict[str, Any]] = payload["predicate"]["resources"]
    if any(each["algorithm"] != "sha256" for each in resources):
        raise ValueError("another algorithm than sha256")
    return {str(each["name"]): str(each["digest"]) for each in resources}


def _changes(directory: Path, signed: Mapping[str, str]) -> Iterator[str]:
    """Each file that is not as it was signed, and each that is listed and was not signed."""
    for name, digest in sorted(signed.items()):
        what = kind_of(directory / name, directory)
        if what is not None:
            yield f"{name}: {what}, a file was signed"
        elif not (directory / name).is_file():
            yield f"{name}: removed since it was signed"
        elif not _is(directory / name, digest):
            yield f"{name}: changed since it was signed"
    for name in sorted(_signed_names(directory) - set(signed)):
        yield f"{name}: added since the directory was signed"


def _is(path: Path, digest: str) -> bool:
    try:
        return file_digest(path, limit_bytes=MOST_BYTES) == digest
    except OSError:  # larger than any artifact, or not to be read: `verify` says which
        return False


def _signed_names(directory: Path) -> set[str]:
    """What belongs into a signature: the manifest, all that it names, and the bill of materials."""
    bom = {BOM} if (directory / BOM).is_file() else set()
    try:
        return {MANIFEST, *named(directory), *bom}
    except StoreError:
        return {MANIFEST, *bom}


def _hashing(directory: Path, names: set[str]) -> Any:
    """The library's way to read the directory: all but what is not in ``names``."""
    rest = {path.name for path in directory.iterdir() if path.is_file()} - names
    ignored = sorted({*rest, SIGNATURE, LOCK, HOLDER, *(path.name for path in directory.glob(f"{STAGING}*"))})
    config = _signing().hashing.Config().use_file_serialization(hashing_algorithm="sha256", max_workers=1)
    return config.set_ignored_paths(paths=ignored, ignore_git_paths=False)


def _signing() -> Any:
    """The library; MissingDependencyError without it."""
    try:
        import model_signing
        import model_signing.hashing
        import model_signing.signing
        import model_signing.verifying
    except ImportError as error:
        raise MissingDependencyError(
            f"signatures need the package model-signing: {error}", hint="pip install 'kexport[sign]'"
        ) from error
    return model_signing


@contextmanager
def _mistakes_of(key: Path, how: str) -> Iterator[None]:
    """A key that cannot be read, or is none, is a SourceError; ``how`` is the command that makes one."""
    try:
        content = read(key, limit_bytes=MAX_KEY_BYTES)
    except OSError as error:
        raise SourceError(f"--key {key}: cannot be read: {error.strerror}", hint=how) from error
    if (b"PUBLIC KEY" in content) != (how == MAKE_PUBLIC):
        wanted = "public" if how == MAKE_PUBLIC else "private"
        raise SourceError(f"--key {key}: expected the {wanted} key, in PEM", hint=how)
    try:
        yield
    except (ValueError, TypeError, AttributeError) as error:
        wanted = "expected an elliptic-curve key in PEM, without a password"
        raise SourceError(f"--key {key}: {wanted}: {next(iter(str(error).splitlines()), ''):.200}", hint=how) from error
