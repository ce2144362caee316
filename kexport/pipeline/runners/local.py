"""Runs jobs as processes on this machine: a job limit, a memory budget and a time limit each.

A child states where it is with JSON lines on stdout, ``{"step": "..."}``; any other line on stdout is kept with its
stderr. Every child leads its own process group, and nothing that it started outlives it. Linux only: peak memory is
``ru_maxrss`` of the reaped child (the larger of the child's peak and the parent's resident size at the start, which
the kernel counts in).
"""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from kexport import machine
from kexport.pipeline.runners import forked
from kexport.pipeline.runners.child import MEASURED_SECONDS, Child, child_environment, start
from kexport.pipeline.runners.interrupts import Interrupts
from kexport.pipeline.runners.jobs import Job, Outcome, Progress

POLL_SECONDS = 0.05
TICK_SECONDS = 1.0


def run(
    tasks: Iterable[Job],
    *,
    jobs: int,
    memory_bytes: int,
    limit_bytes: int | None = None,
    observe: Callable[[Progress], None],
    on_done: Callable[[Outcome], Iterable[Job]] = lambda _: (),
    environment: Mapping[str, str] | None = None,
    cores: int | None = None,
    ahead: Iterable[tuple[str, ...]] = (),
) -> dict[str, Outcome]:
    """Run every task, and those that ``on_done`` returns; outcomes in the order of ending.

    Among the tasks whose estimate fits beside the running ones, the highest priority starts first; one that
    exceeds ``memory_bytes`` by itself runs alone. A failed child stops nothing else. Any exception here, SIGINT,
    SIGTERM and SIGHUP included (the last two as SystemExit with 128 + signal), kills every child and is raised on.
    ValueError for duplicate names. The warm processes of the modules ``ahead`` start at once: later tasks need them.
    Where this process and all that it has started have more than ``limit_bytes``, the largest child is killed.
    """
    if jobs < 1:
        raise ValueError(f"jobs {jobs}: expected 1 or more")
    variables = child_environment(environment, jobs=jobs, cores=cores)
    interrupts = Interrupts()
    state = _State(
        jobs=jobs,
        memory_bytes=memory_bytes,
        limit_bytes=limit_bytes,
        environment=variables,
        observe=observe,
        interrupts=interrupts,
    )
    state.add(tasks)
    with interrupts, selectors.DefaultSelector() as selector:
        try:
            state.start_ready(selector)
            for modules in ahead:
                with interrupts.held():
                    forked.ahead(modules, variables)
            while state.pending or state.running:
                state.start_ready(selector)
                _read_progress(selector)
                for outcome in state.reap(selector):
                    state.add(on_done(outcome))
        except BaseException:
            with interrupts.held():
                state.kill_all(selector)
            raise
    return state.outcomes


def warm(ahead: Iterable[tuple[str, ...]], *, jobs: int, cores: int | None = None) -> None:
    """Let the warm processes of these modules start, before the `run` that needs them; nothing is waited for."""
    environment = child_environment(jobs=jobs, cores=cores)
    with Interrupts() as interrupts, interrupts.held():
        for modules in ahead:
            forked.ahead(modules, environment)


@dataclass(kw_only=True)
class _State:
    """What waits, what runs and what has ended."""

    jobs: int
    memory_bytes: int
    limit_bytes: int | None
    environment: Mapping[str, str]
    observe: Callable[[Progress], None]
    interrupts: Interrupts
    pending: dict[str, Job] = field(default_factory=dict)
    running: dict[str, Child] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    _weighed: float = 0.0

    def add(self, tasks: Iterable[Job]) -> None:
        for task in tasks:
            if task.name in self.pending or task.name in self.running or task.name in self.outcomes:
                raise ValueError(f"two tasks are named {task.name!r}; names must be unique")
            self.pending[task.name] = task

    def start_ready(self, selector: selectors.BaseSelector) -> None:
        while (task := self._next()) is not None:
            del self.pending[task.name]
            self._start(task, selector)

    def _start(self, task: Job, selector: selectors.BaseSelector) -> None:
        with self.interrupts.held():
            child = start(task, environment=self.environment, observe=self.observe)
            self.running[task.name] = child
            selector.register(child.stdout, selectors.EVENT_READ, child)
        child.report()

    def _next(self) -> Job | None:
        if len(self.running) >= self.jobs:
            return None
        free = self.memory_bytes - sum(child.task.memory_bytes for child in self.running.values())
        fitting = (task for task in self.pending.values() if not self.running or task.memory_bytes <= free)
        return max(fitting, key=lambda task: task.priority, default=None)

    def _keep_limit(self) -> None:
        """End the largest child where all processes together are above the limit that was set."""
        if self.limit_bytes is None or not self.running or time.monotonic() - self._weighed < MEASURED_SECONDS:
            return
        self._weighed = time.monotonic()
        total = machine.resident_bytes(os.getpid())
        if total > self.limit_bytes:
            self._kill_largest(f"all processes together had {total} bytes, --memory allows {self.limit_bytes}")

    def _kill_largest(self, why: str) -> None:
        """One that is not forked yet holds nothing, and to kill it would end its warm process with all others."""
        held = {child: child.process.resident_bytes() for child in self.running.values()}
        largest = max(held, key=lambda child: held[child])
        if held[largest]:
            with suppress(OSError):  # a full disk: the kill is told by its signal
                largest.stderr.write(f"killed: {why}\n".encode())
            largest.process.kill()

    def reap(self, selector: selectors.BaseSelector) -> Iterator[Outcome]:
        """Outcomes of children that have ended or are over their time; the others report now and then."""
        self._keep_limit()
        for child in tuple(self.running.values()):
            if child.process.ended() and child.process.refusal:
                self._start_again(child, selector)
                continue
            if child.seconds > child.task.timeout_seconds and not child.process.ended():
                child.timed_out = True
                child.process.kill()
            if child.timed_out or child.process.ended():
                yield self._finish(child, selector)
            elif time.monotonic() - child.reported > TICK_SECONDS:
                child.report()

    def _start_again(self, child: Child, selector: selectors.BaseSelector) -> None:
        """A worker that could not be forked starts as a fresh process, and that is told."""
        child.step = f"a fresh process: {child.process.refusal}"
        child.report()
        with self.interrupts.held():
            child.close(selector)
            self._start(child.task, selector)

    def _finish(self, child: Child, selector: selectors.BaseSelector) -> Outcome:
        child.process.wait()
        while child.read():
            pass
        with self.interrupts.held():
            outcome = self.outcomes[child.task.name] = child.reap()
            del self.running[child.task.name]
            child.close(selector)
        return outcome

    def kill_all(self, selector: selectors.BaseSelector) -> None:
        """Every child, and the warm processes, which then have nothing to say of theirs that could be waited for."""
        for child in self.running.values():
            child.process.kill()
        forked.close()
        for child in self.running.values():
            if not child.process.refusal:  # which has never become a process
                child.reap()
            child.close(selector)
        self.running.clear()


def _read_progress(selector: selectors.BaseSelector) -> None:
    """Wait a moment for output, and for what warm processes say. A pipe that was closed early is no longer watched."""
    servers = forked.alive()
    for server in servers:
        selector.register(server.connection, selectors.EVENT_READ, server)
    if not selector.get_map():
        time.sleep(POLL_SECONDS)
    ready = selector.select(POLL_SECONDS)
    for server in servers:
        selector.unregister(server.connection)
    for key, _ in ready:
        if isinstance(key.data, forked.Server):
            key.data.listen()
        elif not key.data.read():
            selector.unregister(key.fileobj)
