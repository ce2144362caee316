"""Questions to worker processes: the request written, the process that answers it, the answer read or its error raised.

`ask` puts one question and waits. The cells of a run are many questions at once: they use `Question` with a runner of
their own (`kexport.pipeline.cells`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kexport import files, machine
from kexport.errors import KexportError, StoreError
from kexport.pipeline import tasks
from kexport.pipeline.runners import local
from kexport.pipeline.runners.forked import WORKER
from kexport.pipeline.runners.jobs import Job, Outcome, Progress
from kexport.pipeline.tasks import Failure
from kexport.pipeline.worker import FAILED, NO_ROOM
from kexport.records import decode_as, encode

Tell = Callable[[Progress], None]


@dataclass(frozen=True, kw_only=True)
class Question:
    """One request to the task of that name, and the files through which it is asked and answered."""

    task: str
    asked: Path
    answered: Path

    @classmethod
    def write(cls, task: str, request: Any, folder: Path, *, name: str = "") -> Question:
        """Write the request into ``folder``; ``name`` tells several questions there apart. StoreError on refusal."""
        stem = name or task
        question = cls(task=task, asked=folder / f"{stem}.json", answered=folder / f"{stem}-answer.json")
        with files.foreign_errors(folder):
            question.asked.write_text(encode(request), encoding="utf-8")
        return question

    @property
    def argv(self) -> tuple[str, ...]:
        """The command of the process that answers."""
        return command(self.task, self.asked, self.answered)

    def job(
        self,
        name: str,
        *,
        timeout_seconds: float,
        memory_bytes: int = 0,
        priority: int = 0,
        warm: tuple[str, ...] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Job:
        """The process that answers, forked from one with the modules ``warm``: its task's own unless said."""
        return Job(
            name=name,
            argv=self.argv,
            result=self.answered,
            memory_bytes=memory_bytes,
            timeout_seconds=timeout_seconds,
            priority=priority,
            warm=tasks.find(self.task).warm if warm is None else warm,
            environment=environment or {},
        )

    def answer(self, outcome: Outcome) -> Any:
        """What came back: the answer, or a `Failure`, also where the process ended without either."""
        failed = Path(f"{self.answered}{FAILED}")
        if outcome.exit_code == NO_ROOM:
            return Failure.full(step=outcome.step)
        try:
            if failed.exists():
                return decode_as(Failure, failed.read_bytes())
            return decode_as(tasks.find(self.task).answer, self.answered.read_bytes())
        except (OSError, StoreError):
            return _ended_early(outcome)


def command(task: str, asked: Path, answered: Path) -> tuple[str, ...]:
    """How a worker process is started."""
    return (*WORKER, task, str(asked), str(answered))


def ask(
    task: str,
    request: Any,
    *,
    what: str,
    folder: Path | None = None,
    timeout_seconds: float = 1800.0,
    environment: Mapping[str, str] | None = None,
    tell: Tell = lambda _: None,
    hint: str = "kexport doctor (memory, packages)",
) -> Any:
    """The answer of one task, done in a process of its own; ``what`` is how messages call that process's work.

    Raises the error that ended the task, of its own type; KexportError if the process crashed, went over
    ``timeout_seconds``, or met a bug. SIGTERM and SIGINT here end the process as well.
    """
    with tempfile.TemporaryDirectory(prefix="kexport-") as own:
        question = Question.write(task, request, folder or Path(own))
        job = question.job(task, timeout_seconds=timeout_seconds)
        outcome = local.run([job], jobs=1, memory_bytes=machine.memory_bytes(), observe=tell, environment=environment)[
            task
        ]
        answer = question.answer(outcome)
    if isinstance(answer, Failure):
        raise _told(answer, outcome, what=what, timeout_seconds=timeout_seconds, hint=hint)
    return answer


def _told(failure: Failure, outcome: Outcome, *, what: str, timeout_seconds: float, hint: str) -> KexportError:
    if failure.kind != EARLY:
        bug = KexportError(f"{failure.message}\n{failure.traceback}", hint=failure.hint)
        return bug if failure.traceback else failure.error
    if outcome.timed_out:
        return KexportError(
            f"{what} took more than {timeout_seconds:g} seconds and was stopped",
            hint="a longer time limit, or less work",
        )
    tail = outcome.stderr_tail.strip() or "(nothing on standard error)"
    return KexportError(f"{what} ended {outcome.ending} without a result\n{tail}", hint=hint)


EARLY = "ended early"
"""The kind of failure of a process that left no answer: it crashed, was killed, or took too long."""


def _ended_early(outcome: Outcome) -> Failure:
    return Failure(
        kind=EARLY,
        message=f"its process ended without a result: {outcome.reason}",
        hint="--timeout for more time, --jobs 1 for more memory" if outcome.timed_out or outcome.signal else "",
        traceback=outcome.stderr_tail,
        peak_memory_bytes=outcome.peak_memory_bytes,
    )
