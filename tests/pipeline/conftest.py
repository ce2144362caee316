"""A model that is prepared once for all tests of runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipeline import prepared_once


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `prepared_once.CELLS` as the Keras process leaves it."""
    return prepared_once.prepare(tmp_path_factory.mktemp("prepared"))
