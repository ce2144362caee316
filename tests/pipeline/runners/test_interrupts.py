"""A signal at the worst moment: no process is left behind, and what a program ignores stays ignored."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kexport.pipeline.runners import forked, process
from kexport.pipeline.runners.child import Child
from kexport.pipeline.runners.interrupts import Interrupts
from kexport.pipeline.runners.local import run
from tests.pipeline.runners.test_local import BUDGET, both, gone, task

SLEEPS = "import time; time.sleep(60)"
ENDS = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: SystemExit, signal.SIGHUP: SystemExit}
each = pytest.mark.parametrize("number", list(ENDS))


@pytest.fixture(autouse=True)
def as_in_a_terminal() -> Iterator[None]:
    """Handlers as a program finds them, whatever the shell of this test ignores; the ones before are put back."""
    before = {number: signal.getsignal(number) for number in ENDS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def then(call: Callable[..., Any], act: Callable[[Any], None]) -> Callable[..., Any]:
    """``call``, and at its very end, before its result is anybody's, ``act`` on that."""

    def wrapped(*values: Any, **named: Any) -> Any:
        result = call(*values, **named)
        act(result)
        return result

    return wrapped


@each
@both
def test_while_a_process_starts(
    number: signal.Signals, start: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Popen has made the process and has not returned: nobody knows of it yet but this signal comes."""
    started: list[int] = []
    forked.close()  # a warm process of an earlier test would be forked from, and none started

    def interrupt(made: subprocess.Popen[bytes]) -> None:
        started.append(made.pid)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(process.subprocess, "Popen", then(subprocess.Popen, interrupt))
    with pytest.raises(ENDS[number]):
        run([task("a", SLEEPS, start=start)], jobs=1, memory_bytes=BUDGET, observe=lambda _: None)
    assert started
    assert all(gone(pid) for pid in started)


@each
def test_while_a_process_is_reaped(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has gone, and is still noted as running: to reap it again would be an error of its own."""
    monkeypatch.setattr(Child, "reap", then(Child.reap, lambda _: os.kill(os.getpid(), number)))
    with pytest.raises(ENDS[number]):
        run([task("a", "pass")], jobs=1, memory_bytes=BUDGET, observe=lambda _: None)


@pytest.mark.parametrize("first", [*ENDS, None], ids=lambda number: number.name if number else "an error")
@each
def test_a_second_one_while_the_first_cleans_up(
    first: signal.Signals | None, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    ended: type[BaseException] = RuntimeError if first is None else ENDS[first]
    monkeypatch.setattr(process.subprocess, "Popen", then(subprocess.Popen, lambda made: started.append(made.pid)))
    monkeypatch.setattr(Child, "reap", then(Child.reap, lambda _: os.kill(os.getpid(), number)))

    def interrupt(_: object) -> None:
        if len(started) == 2 and first is None:
            raise RuntimeError
        if len(started) == 2:
            os.kill(os.getpid(), first)

    with pytest.raises(ended if first else (RuntimeError, ENDS[number])):
        run([task("a", SLEEPS), task("b", SLEEPS)], jobs=2, memory_bytes=BUDGET, observe=interrupt)
    assert len(started) == 2
    assert all(gone(pid) for pid in started)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_what_is_ignored_stays_ignored(number: signal.Signals) -> None:
    """As `nohup` lets a program ignore SIGHUP, and a shell without job control SIGINT behind `&`."""
    signal.signal(number, signal.SIG_IGN)
    outcomes = run([task("a", "pass")], jobs=1, memory_bytes=BUDGET, observe=lambda _: os.kill(os.getpid(), number))
    assert outcomes["a"].succeeded
    assert signal.getsignal(number) is signal.SIG_IGN


def test_a_handler_of_the_program_that_goes_on() -> None:
    heard: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    with Interrupts() as interrupts:
        with interrupts.held():
            os.kill(os.getpid(), signal.SIGINT)
            assert heard == []
        os.kill(os.getpid(), signal.SIGINT)
    assert heard == [signal.SIGINT] * 2


@each
def test_one_within_another(number: signal.Signals) -> None:
    """The inner one raises once; what the outer one cleans up is not interrupted either, and handlers are put back."""
    before = {one: signal.getsignal(one) for one in ENDS}
    cleaned: list[bool] = []

    def interrupted() -> None:
        with Interrupts():
            try:
                with Interrupts():
                    os.kill(os.getpid(), number)
            finally:
                os.kill(os.getpid(), number)
                cleaned.append(True)

    with pytest.raises(ENDS[number]) as ended:
        interrupted()
    assert cleaned
    assert ended.type is KeyboardInterrupt or ended.value.code == 128 + number
    assert {one: signal.getsignal(one) for one in ENDS} == before
