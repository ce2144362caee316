"""Bundles: an artifact with everything that its deployment needs, as one folder or one archive.

A module of this folder with the value ``BUNDLE`` is a bundle; its presence registers it::

    BUNDLE = Bundle(name="mine", summary="what it is for", formats=("onnx",), files=files, readme=readme)

``files`` is a function from a `Deployment` and its `Golden` arrays to the files of this bundle, contents by name. What
every bundle holds (labels, contract, golden arrays, model card, licences, record, checksums) comes from `common`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kexport.bundles.deployment import Deployment
from kexport.bundles.golden import Golden
from kexport.errors import UnknownNameError, UsageError

Files = dict[str, bytes]
"""Contents by name, with ``/`` between the parts."""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """One kind of bundle, for artifacts of some formats.

    ``readme`` is what the reader has to type, in Markdown; ``refusal`` says why an artifact cannot be bundled so, empty
    where it can. ``takes_runtime_files``: it can hold files of a runtime that the user has.
    """

    name: str
    summary: str
    formats: tuple[str, ...]
    files: Callable[[Deployment, Golden], Files]
    readme: Callable[[Deployment], str]
    refusal: Callable[[Deployment], str] = lambda deployment: ""  # noqa: ARG005
    takes_runtime_files: bool = False

    def require(self, deployment: Deployment) -> None:
        """Raise UsageError where the artifact cannot be bundled so."""
        if deployment.format not in self.formats:
            raise UsageError(
                f"{deployment.path.name} is {deployment.format}: a bundle for {self.name} takes "
                f"{' or '.join(self.formats)}",
                hint=f"kexport export MODEL --formats {self.formats[0]}",
            )
        if deployment.runtime_files is not None and not self.takes_runtime_files:
            raise UsageError(f"--runtime-files: a bundle for {self.name} holds none", hint="leave --runtime-files out")
        refused = self.refusal(deployment)
        if refused:
            raise UsageError(f"{deployment.path.name}: {refused}", hint="kexport bundle ARTIFACT --for python")


def registry() -> Mapping[str, Bundle]:
    """Every bundle by name."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    found = [module.BUNDLE for module in modules if isinstance(getattr(module, "BUNDLE", None), Bundle)]
    return {bundle.name: bundle for bundle in sorted(found, key=lambda bundle: bundle.name)}


def find(name: str) -> Bundle:
    """The bundle called ``name``. Raises UnknownNameError."""
    known = registry()
    if name not in known:
        raise UnknownNameError(kind="bundle", value=name, legal=known, hint="kexport bundle ARTIFACT --for python")
    return known[name]
