"""Every error that kexport raises on purpose, and how it ends the program.

    KexportError                 exit 1   base; a failure that is not the user's usage
    ├── UsageError               exit 2   the request itself is wrong: a name, a value, a file
    │   ├── UnknownNameError              not in the catalog, no such format / scheme / target
    │   └── SourceError                   a model or weight file that cannot be used
    ├── EnvironmentFailure       exit 3   this machine or installation cannot do what was asked
    │   ├── MissingDependencyError        a package of an extra is absent
    │   ├── DownloadError                 weights could not be fetched
    │   └── DeviceError                   the execution provider or delegate did not really run
    ├── UnsupportedError         exit 1   the model holds something that this path cannot express
    │   └── SkippedError         exit 0   the same, known before its work began, and left out as it was asked
    ├── GraphError               exit 1   a graph that breaks its own rules (a bug, or a bad pass)
    ├── ArtifactError            exit 1   a written file that is not what was meant to be written
    ├── SignalError              exit 1   a reference that says nothing: parity would prove nothing
    └── StoreError               exit 3   the artifact directory cannot be used

A message has four parts: what failed, the value, what would have been right, and a last line
``hint:`` with the command that helps.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class KexportError(Exception):
    """Base of every deliberate failure.

    ``hint`` is the command or change that helps; ``exit_code`` is what the command line returns.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\nhint: {self.hint}"


class UsageError(KexportError):
    """The request is wrong: an option's value, a combination of options, a path."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that is not among the legal ones; the closest legal name is offered, never applied."""

    def __init__(self, *, kind: str, value: str, legal: Iterable[str], hint: str) -> None:
        names = tuple(legal)
        folded = {name.casefold(): name for name in names}
        close = difflib.get_close_matches(value.casefold(), folded, n=1, cutoff=0.6)
        known = f"known: {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}"
        offer = f"did you mean {folded[close[0]]}?" if close else known
        super().__init__(f"unknown {kind} {value!r}: {offer}", hint=hint)
        self.suggestion = folded[close[0]] if close else None


class SourceError(UsageError):
    """A model, weight or data file that is missing, damaged, or does not belong to the model."""


class EnvironmentFailure(KexportError):
    """What was asked is legal, but not possible here; the message says what to install or change."""

    exit_code = 3


class MissingDependencyError(EnvironmentFailure):
    """A package that belongs to an optional extra is not installed."""


class DownloadError(EnvironmentFailure):
    """Weights could not be downloaded."""


class DeviceError(EnvironmentFailure):
    """The requested device, execution provider or delegate is not what really ran."""


class StoreError(EnvironmentFailure):
    """The artifact directory cannot be written, locked or read."""


class UnsupportedError(KexportError):
    """The model holds a layer, operation or option that this path cannot express."""


class SkippedError(UnsupportedError):
    """What was known not to be supported before its work began, and is left out because that was asked for."""

    exit_code = 0


class GraphError(KexportError):
    """A graph value that breaks its own rules: shapes, order, names."""


class ArtifactError(KexportError):
    """A written file that is not what was meant: structure, signature or content."""


class SignalError(KexportError):
    """The Keras reference is constant, saturated or not finite, so that comparing with it proves nothing."""
