"""Where JAX keeps what it has compiled."""

from __future__ import annotations

from pathlib import Path

import pytest

from kexport import machine
from kexport.pipeline.runners import compiled
from kexport.pipeline.runners.child import child_environment
from kexport.sources import backend

PLACE = "JAX_COMPILATION_CACHE_DIR"


@pytest.fixture(autouse=True)
def with_jax(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(backend, "installed", lambda name: True)
    monkeypatch.setenv("KEXPORT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(PLACE, raising=False)


def test_in_the_users_own_cache_and_apart_for_each_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = Path(compiled.environment()[PLACE])
    assert first.parent == tmp_path / "cache"
    assert first.stat().st_mode & 0o077 == 0
    monkeypatch.setattr(machine, "instructions", lambda: "others")
    assert Path(compiled.environment()[PLACE]) != first


def test_workers_have_it_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert child_environment(jobs=1)[PLACE] == compiled.environment()[PLACE]
    monkeypatch.setenv(PLACE, "/elsewhere")
    found = {name: value for name, value in child_environment(jobs=1).items() if name.startswith(compiled.THEIRS)}
    assert found == {PLACE: "/elsewhere"}, "a limit of ours would empty a cache of theirs"


def test_nothing_without_jax_or_where_nothing_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(backend, "installed", lambda name: False)
    assert compiled.environment() == {}
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(backend, "installed", lambda name: True)
    monkeypatch.setenv("KEXPORT_CACHE", "")
    assert compiled.environment() == {}


def test_a_folder_that_others_may_write_to_is_not_used() -> None:
    Path(compiled.environment()[PLACE]).chmod(0o777)
    assert compiled.environment() == {}
