"""Properties under arbitrary values for a time: ten seconds each unless ``KEXPORT_FUZZ_SECONDS`` says otherwise.

The weekly run takes two minutes for each. A property that is tested in several cases gives each its ``share`` of that.

The same values come in the same order in every run; a longer one sees more of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

SECONDS = float(os.environ.get("KEXPORT_FUZZ_SECONDS", "10"))
BATCH = 50
_SETTINGS = settings(
    max_examples=BATCH,
    deadline=None,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
"""What JSON can say."""


def fuzz(holds: Callable[..., None], *, share: float = 1.0, **values: st.SearchStrategy[Any]) -> int:
    """Call ``holds`` with values of the strategies until its share of the time is up; how many batches that were."""
    end, batches = time.monotonic() + share * SECONDS, 0
    while batches == 0 or time.monotonic() < end:
        seed(batches)(_SETTINGS(given(**values)(holds)))()
        batches += 1
    return batches
