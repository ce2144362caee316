"""The zoo with Keras on another backend, for parity/installs.md: which models it builds, and which files are right.

    KERAS_BACKEND=openvino PYTHONPATH=. ENVIRONMENT/bin/python -m tests.benchmarks.zoo_elsewhere FILE.json

Every model of `tests.zoo_models` goes through lowering, passes and both writers, and its files are compared with what
this backend makes of the same inputs. One that the backend cannot build or compute is counted, with the reason.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests import zoo


def became(name: str, folder: Path) -> str:
    """Empty where both files are right and native, else why not."""
    try:
        outcome = zoo.outcome_of(name, folder)
    except Exception as error:  # noqa: BLE001 - whatever a backend raises is what is counted
        (first, *_) = str(error).strip().splitlines() or [type(error).__name__]
        return f"Keras: {first.removeprefix('Exception encountered when calling ')}"
    wrong = [form for form, how in outcome.made.items() if how != zoo.NATIVE]
    return f"{', '.join(wrong)}: not what Keras says, error {outcome.error:.2g}" if wrong else ""


def counted() -> dict[str, Any]:
    """The backend, how many models there are, and those that are not right."""
    import keras

    from tests.zoo_models import MODELS

    with tempfile.TemporaryDirectory() as folder:
        told = {name: became(name, Path(folder)) for name in MODELS}
    reasons = {name: why for name, why in told.items() if why}
    return {"backend": keras.config.backend(), "models": len(told), "not": reasons}


def main(arguments: Sequence[str]) -> int:
    """Count and write."""
    (place,) = arguments
    Path(place).write_text(json.dumps(counted(), indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
