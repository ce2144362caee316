"""A signal at the worst moment: no process is left behind, and what a program ignores stays ignored."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from kexport.pipeline.runners import forked, process
from kexport.pipeline.runners import interrupts as interrupts_module
from kexport.pipeline.runners.child import Child
from kexport.pipeline.runners.forked import WORKER
from kexport.pipeline.runners.interrupts import Interrupts
from kexport.pipeline.runners.jobs import Job, Progress
from kexport.pipeline.runners.local import run, warm
from tests.pipeline.runners.test_local import BUDGET, STAND_IN, both, gone, task

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
    """All children are gone before it is heard."""
    started: list[int] = []
    sent: list[int] = []
    forked.close()
    monkeypatch.setattr(process.subprocess, "Popen", then(subprocess.Popen, lambda made: started.append(made.pid)))

    def once(_: object) -> None:
        if not sent:
            sent.append(number)
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Child, "reap", then(Child.reap, once))

    def interrupt(_: object) -> None:
        if len(started) == 2 and first is None:
            raise RuntimeError
        if len(started) == 2 and first is not None:
            os.kill(os.getpid(), first)

    with pytest.raises((RuntimeError, KeyboardInterrupt, SystemExit)):
        run([task("a", SLEEPS), task("b", SLEEPS)], jobs=2, memory_bytes=BUDGET, observe=interrupt)
    assert (len(started), len(sent)) == (2, 1)
    assert all(gone(pid) for pid in started)


@each
def test_what_hangs_is_ended_by_another_one(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts_module, "PATIENCE_SECONDS", 0.2)

    def hangs() -> None:
        for _ in range(20):  # as fast as they come, all of them wait
            os.kill(os.getpid(), number)
        time.sleep(0.3)
        os.kill(os.getpid(), number)
        pytest.fail("held for ever")

    with Interrupts() as interrupts, pytest.raises(ENDS[number]), interrupts.held():
        hangs()


def test_a_message_that_was_lost_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal between a message of the warm process and what it is taken for: it comes once, and nobody has heard."""
    forked.close()

    def lost(_worker: forked.Forked, message: dict[str, Any]) -> None:
        if "ended" in message:
            os.kill(os.getpid(), signal.SIGINT)
        hears(_worker, message)

    hears = forked.Forked.hears
    monkeypatch.setattr(forked.Forked, "hears", lost)
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("waits for what was said already"))
    signal.alarm(20)
    try:
        with pytest.raises(KeyboardInterrupt):
            run([task("a", "pass", start=WORKER)], jobs=1, memory_bytes=BUDGET, observe=lambda _: None)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


@each
def test_one_that_was_caught_is_heard_again(number: signal.Signals) -> None:
    """What a user's own function catches does not make the program deaf."""
    with Interrupts() as interrupts:
        for _ in range(3):
            with pytest.raises(ENDS[number]):
                os.kill(os.getpid(), number)
        for _ in range(2):
            with pytest.raises(ENDS[number]), interrupts.held():
                os.kill(os.getpid(), number)


@each
@pytest.mark.parametrize("place", range(6))
def test_while_handlers_are_set_and_put_back(
    number: signal.Signals, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every call that sets one, on the way in and out: those of before are there again, and the program hears."""
    calls: list[int] = []
    real = signal.signal

    def interrupted(*values: Any) -> Any:
        result = real(*values)
        calls.append(1)
        if len(calls) == place + 1:
            signal.raise_signal(number)
        return result

    signal.signal(signal.SIGTERM, told := lambda *_: None)
    signal.signal(signal.SIGHUP, told)
    before = {one: signal.getsignal(one) for one in ENDS}
    with monkeypatch.context() as patched:
        patched.setattr(signal, "signal", interrupted)
        with suppress(KeyboardInterrupt, SystemExit), Interrupts():
            pass
    assert len(calls) >= 3
    assert {one: signal.getsignal(one) for one in ENDS} == before
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@each
def test_warm_processes_that_are_started_ahead(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    forked.close()

    def interrupt(made: subprocess.Popen[bytes]) -> None:
        started.append(made.pid)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(process.subprocess, "Popen", then(subprocess.Popen, interrupt))
    with pytest.raises(ENDS[number]):
        warm([STAND_IN], jobs=1)
    assert [server.process.pid for server in forked.alive()] == started
    forked.close()
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


def test_another_signal_behind_one_that_goes_on() -> None:
    heard: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: heard.append(number))

    def both_at_once() -> None:
        with Interrupts() as interrupts, interrupts.held():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as ended:
        both_at_once()
    assert (heard, ended.value.code) == ([signal.SIGINT], 143)


@each
def test_one_within_another(number: signal.Signals) -> None:
    before = {one: signal.getsignal(one) for one in ENDS}

    def interrupted() -> None:
        with Interrupts(), Interrupts():
            os.kill(os.getpid(), number)

    with pytest.raises(ENDS[number]) as ended:
        interrupted()
    assert ended.type is KeyboardInterrupt or ended.value.code == 128 + number
    assert {one: signal.getsignal(one) for one in ENDS} == before


@each
def test_while_a_refused_worker_is_told(number: signal.Signals) -> None:
    """It has never become a process: there is nothing to reap of it, and what interrupts the telling is heard."""
    forked.close()

    def interrupt(progress: Progress) -> None:
        if progress.step.startswith("a fresh process"):
            os.kill(os.getpid(), number)

    refused = Job(
        name="a", argv=(*WORKER, SLEEPS), warm=("tests.pipeline.runners.threaded",), result=Path("unused"),
        memory_bytes=1, timeout_seconds=30,
    )  # fmt: skip
    try:
        with pytest.raises(ENDS[number]) as ended:
            run([refused, task("b", SLEEPS)], jobs=2, memory_bytes=BUDGET, observe=interrupt)
    finally:
        forked._refused.clear()
    assert ended.value.__context__ is None
