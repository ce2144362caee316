"""Where the time goes, as the page of HTML shows it: the same shares as in the other reports, with a bar for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kexport.records import BenchRecord, Profile, Record
from kexport.reports import profile, roofline
from kexport.reports.profile import Share
from kexport.reports.tables import NONE, milliseconds, number

MOST = 40
"""Layers of one file."""
_WIDEST = 80
_ROOFLINE = (("computes", "MMAC", "number"), ("moves", "MB", "number"), ("of the best", "%", "number"))
_TIME = (("time", "ms", "number"), ("share", "%", "number"))


def shown(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Every profiled session, for the template."""
    return [_session(*each) for each in profile.profiles(records)]


def _session(record: Record, session: BenchRecord, found: Profile) -> dict[str, Any]:
    told = found.missing and f"no profile: {found.missing}"
    return {
        "cell": record.label,
        "told": f"{profile.condition(session)}: {told or milliseconds(profile.total(found)) + ' ms in all operators'}",
        "notes": tuple(profile.notes(session, found)) if found.operators else (),
        "tables": (_layers(found), _kinds(found)) if found.operators else (),
    }


def _layers(found: Profile) -> dict[str, Any]:
    shares = profile.by_place(found)
    rows = [(_width(share), _layer(share)) for share in profile.most_of(shares, MOST)]
    unit = "layer" if found.layers else "operator"
    return {"columns": ((unit, "", "text"), ("operators", "", "text"), *_TIME, *_ROOFLINE), "rows": rows}


def _kinds(found: Profile) -> dict[str, Any]:
    rows = [(_width(share), _cells(share, str(share.count))) for share in profile.by_kind(found)]
    return {"columns": (("kind of operator", "", "text"), ("count", "", "number"), *_TIME), "rows": rows}


def _width(share: Share) -> int:
    """Pixels of its bar."""
    return round(_WIDEST * share.share)


def _layer(share: Share) -> tuple[str, ...]:
    return (*_cells(share, share.kinds), *roofline.cells(share.work, share.attainable))


def _cells(share: Share, second: str) -> tuple[str, ...]:
    return share.name, second or NONE, milliseconds(share.seconds), number(100 * share.share, ".1f")
