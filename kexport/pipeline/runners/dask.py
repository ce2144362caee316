"""Runs a function on the workers of a Dask cluster: results as they come, and what was lost with its workers.

Work whose worker dies is given to another by the scheduler itself, as often as its setting
``distributed.scheduler.allowed-failures`` says, three times unless set; then it is lost. Knows nothing of models.
"""

from __future__ import annotations

import asyncio
import importlib.util
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

from kexport.errors import EnvironmentFailure, MissingDependencyError
from kexport.version import __version__

CONNECT_SECONDS, WORKERS_SECONDS = 10.0, 30.0


@final
@dataclass(frozen=True, kw_only=True)
class Lost:
    """What became of a piece of work that gave no result."""

    error: BaseException

    @property
    def reason(self) -> str:
        """In one line."""
        if type(self.error).__name__ == "KilledWorker":
            return "every worker that took it was killed (out of memory?)"
        return f"{type(self.error).__name__}: {next(iter(str(self.error).splitlines()), 'no message'):.300}"


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A cluster that answers."""

    client: Any

    def each(self, function: Callable[[Any], Any], work: Mapping[str, Any]) -> Iterator[tuple[str, Any | Lost]]:
        """Name and result of each piece, in the order of ending. What still runs is cancelled where nobody reads on."""
        from distributed import as_completed

        run = uuid.uuid4().hex[:12]
        names = {
            self.client.submit(function, piece, key=f"kexport-{run}-{name}", pure=False): name
            for name, piece in work.items()
        }
        try:
            for future in as_completed(names, loop=self.client.loop):
                error = future.exception() if future.status == "error" else None
                yield names[future], Lost(error=error) if error is not None else future.result()
                future.release()
        finally:
            self.client.cancel(list(names))


@contextmanager
def connected(address: str) -> Iterator[Cluster]:
    """The cluster of the scheduler at ``address``, which has at least one worker with this version of kexport.

    Raises MissingDependencyError without dask.distributed, EnvironmentFailure where nothing answers, nobody works, or a
    worker has no kexport or another one.
    """
    if importlib.util.find_spec("distributed") is None:
        raise MissingDependencyError(
            f"--cluster {address}: needs the package distributed", hint="pip install 'kexport[cluster]'"
        )
    from distributed import Client

    try:
        asyncio.run(_answers(address))
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise EnvironmentFailure(
            f"--cluster {address}: no Dask scheduler answers there: {next(iter(str(error).splitlines()), ''):.200}",
            hint="dask scheduler, whose first lines tell its address",
        ) from error
    with client:
        _check(client, address)
        yield Cluster(client=client)


async def _answers(address: str) -> None:
    """OSError or ValueError where nobody does: a client that does not connect stays behind, and its end may block."""
    from distributed.comm import connect

    await (await connect(address, timeout=CONNECT_SECONDS)).close()


def _check(client: Any, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=WORKERS_SECONDS)
        versions = client.run(about)
    except TimeoutError as error:
        raise EnvironmentFailure(
            f"--cluster {address}: no worker came within {WORKERS_SECONDS:.0f} s", hint=f"dask worker {address}"
        ) from error
    except ImportError as error:
        raise EnvironmentFailure(
            f"--cluster {address}: a worker has no kexport: {error}",
            hint=f"pip install 'kexport[cpu,cluster]=={__version__}' where the workers run",
        ) from error
    others = {worker: version for worker, version in versions.items() if version != __version__}
    if others:
        worker, version = next(iter(others.items()))
        raise EnvironmentFailure(
            f"--cluster {address}: the worker {worker} has kexport {version}, expected {__version__} as here",
            hint=f"pip install 'kexport[cpu,cluster]=={__version__}' where the workers run",
        )


def about() -> str:
    """What a worker has of this program."""
    return __version__
