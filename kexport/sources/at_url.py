"""Models at a URL: a file, a folder of a SavedModel, all models of a folder, or a glob of files, as on this machine."""

from __future__ import annotations

from pathlib import PurePosixPath

from kexport.errors import SourceError
from kexport.options import fetched
from kexport.options.fetched import MODEL_SUFFIXES
from kexport.options.place import Url
from kexport.options.remote import connect
from kexport.sources.named import ModelFile

GRAPH = "saved_model.pb"
"""What makes a folder a SavedModel."""
WEIGHTS_SUFFIX = ".weights.h5"
_HINT = "kexport export s3://bucket/model.keras, or 's3://bucket/models/*.keras'"


def models(text: str) -> tuple[ModelFile, ...]:
    """What a URL names, in the order of names; nothing is fetched yet. SourceError where there is no model."""
    url = fetched.url_of(text)
    assert url is not None, text
    if any(sign in url.text for sign in "*?["):
        found = _matching(url)
    else:
        found = _below(str(url), list(fetched.listing(url).files))
    if not found:
        raise SourceError(
            f"{url}: no model is there; expected a .keras file, a .h5 file that holds a whole model, or a SavedModel",
            hint=_HINT,
        )
    return tuple(ModelFile(path=each) for each in found)


def _below(url: str, names: list[str]) -> list[str]:
    """The models among the files of a folder; the file itself, or the folder where it is one model."""
    if names == [""]:
        return [url] if _is_model(url) else []
    if GRAPH in names:
        return [url]
    folders = [name.rpartition("/")[0] for name in names if PurePosixPath(name).name == GRAPH]
    return [f"{url}/{name}" for name in sorted([*folders, *filter(_is_model, names)])]


def _is_model(name: str) -> bool:
    hidden = any(part.startswith(".") for part in PurePosixPath(name).parts)
    return name.endswith(MODEL_SUFFIXES) and not name.endswith(WEIGHTS_SUFFIX) and not hidden


def _matching(url: Url) -> list[str]:
    remote = connect(url)
    with remote.errors():
        found = sorted(str(path) for path in remote.system.glob(remote.root))
    return [remote.system.unstrip_protocol(path) for path in found if _is_model(path)]
