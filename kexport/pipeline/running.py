"""How a request is run, as its options say it, for the command line and Python alike."""

from __future__ import annotations

from typing import Any

from kexport.options import ExportOptions
from kexport.pipeline import automatic, requests


def fields_of(options: ExportOptions) -> dict[str, Any]:
    """The fields of `kexport.pipeline.Request` by their names, without what is made and where."""
    return {
        "jobs": options.jobs,
        "resume": options.resume,
        "force": options.force,
        "bench": requests.benchmark(options),
        "timeout_seconds": options.timeout_minutes * 60,
        "isolate": options.isolate,
        "memory_bytes": options.memory,
        "cluster": options.cluster,
        "auto": automatic.asked(options),
        "skip_unsupported": requests.skips(options),
    }
