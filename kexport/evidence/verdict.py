"""How the evidence about an artifact ends: PASS, FAIL, or UNPROVEN with the command that would prove it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kexport.evidence import parity
from kexport.records import UNKNOWN, ParityRecord, SourceFacts, Status

_OPTION = "--calibration"


@dataclass(frozen=True, kw_only=True)
class Ending:
    """What the record says of the whole."""

    status: Status
    reason: str = ""
    hint: str = ""


def of(
    problems: Sequence[str],
    compared: ParityRecord | None,
    facts: SourceFacts,
    *,
    reproduce: str,
    why: Sequence[str] = (),
    cure: str = "",
) -> Ending:
    """FAIL where anything speaks against the artifact, else UNPROVEN where some output proves nothing.

    ``why`` explains the problems of a file that fails, ``cure`` is what helps it; the command that makes it again
    unless there is one.
    """
    if problems:
        return Ending(status=Status.FAIL, reason="; ".join((*problems, *why)), hint=cure or reproduce)
    doubts = tuple(parity.unproven(compared.outputs)) if compared is not None else ()
    if not doubts:
        return Ending(status=Status.PASS)
    return Ending(status=Status.UNPROVEN, reason="; ".join(doubts), hint=remedy(facts, reproduce=reproduce))


def remedy(facts: SourceFacts, *, reproduce: str) -> str:
    """The command that would prove it, by the kind of source."""
    if facts.kind == "application" and facts.weights.startswith("random"):
        return f"kexport export {facts.application} --weights imagenet, or --weights random:1: weights that tell"
    contract = facts.preprocessing
    if contract is None:
        return f"train the model, so that its outputs differ between inputs; then: {reproduce}"
    unknown = contract.mode == UNKNOWN
    what = "images.npz" if unknown else "photos"
    of_what = "arrays as the model takes them" if unknown else "photographs"
    return f"{of_what} on which its answers differ: {_with_images(reproduce, what)}"


def _with_images(reproduce: str, what: str) -> str:
    """The command with a set of images, in place of the one that it has."""
    if reproduce.endswith(")"):
        given = re.sub(r", calibration=[^,)]+", "", reproduce[:-1])
        return f"{given}, calibration={what!r})"
    words = reproduce.split(" ")
    if _OPTION in words:
        place = words.index(_OPTION) + 1
        return " ".join([*words[:place], what, *words[place + 1 :]])
    return f"{reproduce} {_OPTION} {what}"
