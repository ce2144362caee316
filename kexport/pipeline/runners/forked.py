"""Workers forked from a warm process (`kexport.pipeline.runners.server`), which is started when it is first needed.

One warm process for each set of modules and each environment; it serves the program that started it until that
program, or the thread that asked, ends. It ends by itself where nobody asks it anything for two minutes.
"""

from __future__ import annotations

import atexit
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, final

from kexport import machine
from kexport.pipeline.runners.process import Process
from kexport.pipeline.runners.server import MESSAGE_BYTES

BOUND = "from kexport import machine; machine.end_with_parent(); "
"""A worker is bound to its parent before it imports what takes a second: a parent may be killed in between."""
WORKER = (sys.executable, "-c", f"{BOUND}from kexport.pipeline.worker import start; start()")
"""The command of a fresh worker; what follows is what a forked one is asked to do instead."""
SERVER = f"{BOUND}import sys; from kexport.pipeline.runners.server import serve; serve(int(sys.argv[1]), sys.argv[2:])"
LATER = frozenset({
    "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", machine.PARENT, "PYTEST_CURRENT_TEST",
})  # fmt: skip
"""Variables that nothing reads while it is imported: they may differ between workers of one warm process."""
TAIL_BYTES = 8192


class Server:
    """A warm process as its program sees it: what it was started with, and the workers that it has forked."""

    def __init__(self, modules: tuple[str, ...], environment: Mapping[str, str]) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the server
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.modules, self.environment = modules, dict(environment)
        self.connection, self.gone = ours, False
        self._workers: dict[int, Forked] = {}
        self._number = 0
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SERVER, str(theirs.fileno()), *modules],
                stdin=subprocess.DEVNULL,
                stdout=self._stderr,
                stderr=self._stderr,
                env=self.environment,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )

    def fork(self, arguments: tuple[str, ...], environment: Mapping[str, str], *, stdout: int, stderr: int) -> Forked:
        """Ask for a worker. Raises BrokenPipeError if the server has ended since."""
        self._number += 1
        changed = {name: value for name, value in environment.items() if self.environment.get(name) != value}
        request = {
            "number": self._number,
            "arguments": arguments,
            "environment": changed,
            "without": [name for name in self.environment if name not in environment],
        }
        folder = os.open(".", os.O_PATH | os.O_CLOEXEC)  # itself, not its name: it may have been removed
        try:
            socket.send_fds(self.connection, [json.dumps(request).encode()], [stdout, stderr, folder])
        except ConnectionError as error:
            raise BrokenPipeError(str(error)) from error
        finally:
            os.close(folder)
        self._workers[self._number] = Forked(self, self._number)
        return self._workers[self._number]

    def reap(self, worker: Forked) -> None:
        """Let the server reap a worker, and wait until it has."""
        with suppress(ConnectionError):
            self.connection.send(json.dumps({"reap": worker.number}).encode())
        while worker.code is None:
            self.listen(None)

    def listen(self, timeout_seconds: float | None = 0.0) -> bool:
        """Take the messages that are there; False once the server has ended, which has ended its workers as well."""
        while not self.gone and self._there(timeout_seconds):
            self._take()
            timeout_seconds = 0.0
        return not self.gone

    def _there(self, timeout_seconds: float | None) -> bool:
        with selectors.DefaultSelector() as selector:
            selector.register(self.connection, selectors.EVENT_READ)
            return bool(selector.select(timeout_seconds))

    def _take(self) -> None:
        try:
            data = self.connection.recv(MESSAGE_BYTES)
        except ConnectionError:
            data = b""
        if not data:
            self.close()
            return
        message = json.loads(data)
        worker = self._workers[message["number"]]
        worker.hears(message)
        if worker.refusal and "late" not in message:
            _refused.add(self.modules)  # no import of these will go without threads a second time
        if worker.code is not None or worker.refusal:
            del self._workers[worker.number]

    def close(self) -> None:
        """End the server, and with it every worker."""
        if self.gone:
            return
        machine.kill_tree(self.process.pid)
        code = self.process.wait()
        self.gone = True
        self.connection.close()
        for worker in self._workers.values():
            worker.lost(code, self._tail())
        self._stderr.close()

    def _tail(self) -> str:
        self._stderr.seek(max(0, self._stderr.seek(0, os.SEEK_END) - TAIL_BYTES))
        return self._stderr.read().decode(errors="replace")


@final
class Forked(Process):
    """A worker forked by a server."""

    def __init__(self, server: Server, number: int) -> None:
        self.server, self.number = server, number
        self._pid: int | None = None
        self._ended = False
        self._refusal = ""
        self.code: int | None = None
        self._peak_bytes = 0
        self._told = ""

    def hears(self, message: dict[str, Any]) -> None:
        """Take what the server says of this worker."""
        self._pid = message.get("pid", self._pid)
        self._refusal = message.get("refused", self._refusal)
        self._ended = self._ended or "ended" in message or "refused" in message
        self.code = message.get("code", self.code)
        self._peak_bytes = message.get("peak_bytes", self._peak_bytes)

    def lost(self, code: int, told: str) -> None:
        """The server has ended: so has this worker, by the death signal; one that was never there as the server did."""
        if self._pid is None:
            self._told = told
        self.code = -signal.SIGKILL if self._pid is not None else code or 1
        self._ended = True

    @property
    def pid(self) -> int:
        """The id of the worker, or of the server until there is one."""
        return self.server.process.pid if self._pid is None else self._pid

    def resident_bytes(self) -> int:
        """What it and all that it started hold now; nothing until it is there: what the server holds is not its."""
        return 0 if self._pid is None else super().resident_bytes()

    @property
    def refusal(self) -> str:
        """Why the server has not forked."""
        return self._refusal

    @property
    def told(self) -> str:
        """What the server said if it ended before it forked."""
        return self._told

    def ended(self) -> bool:
        """Whether it has ended."""
        if not self._ended:
            self.server.listen()
        return self._ended

    def wait(self) -> None:
        """Until it has ended."""
        while not self._ended:
            self.server.listen(None)

    def kill(self) -> None:
        """End the worker and all that it started; the server, if it has not come to this one yet."""
        if self._pid is None:
            self.server.close()
        elif self.code is None:
            machine.kill_tree(self._pid)

    def reap(self) -> tuple[int, int]:
        """Its exit code or negative signal, and its peak memory."""
        if self.code is None:
            self.server.reap(self)
        assert self.code is not None
        return self.code, self._peak_bytes


_servers: dict[tuple[int, int, tuple[str, ...]], Server] = {}
_refused: set[tuple[str, ...]] = set()


def worker(
    modules: tuple[str, ...], arguments: tuple[str, ...], environment: Mapping[str, str], *, stdout: int, stderr: int
) -> Forked:
    """A worker from the warm process that has these modules and this environment, started if it is not there."""
    known = _known(modules, environment)
    if known is not None:
        with suppress(BrokenPipeError):
            return known.fork(arguments, environment, stdout=stdout, stderr=stderr)
    return _start(modules, environment).fork(arguments, environment, stdout=stdout, stderr=stderr)


def ahead(modules: tuple[str, ...], environment: Mapping[str, str]) -> None:
    """Let a warm process be there when it is needed; nothing is waited for."""
    if able(modules) and _known(modules, environment) is None:
        _start(modules, environment)


def _known(modules: tuple[str, ...], environment: Mapping[str, str]) -> Server | None:
    _forget_ended_threads()
    known = _servers.get((os.getpid(), threading.get_ident(), modules))
    fits = known is not None and known.listen() and _same(known.environment, environment)
    return known if fits else None


def _start(modules: tuple[str, ...], environment: Mapping[str, str]) -> Server:
    place = (os.getpid(), threading.get_ident(), modules)
    if place in _servers:
        _servers.pop(place).close()
    return _servers.setdefault(place, Server(modules, environment))


def alive() -> list[Server]:
    """The warm processes of this thread."""
    mine = (os.getpid(), threading.get_ident())
    return [server for place, server in _servers.items() if place[:2] == mine and not server.gone]


def close() -> None:
    """End every warm process of this program."""
    for place in [place for place in _servers if place[0] == os.getpid()]:
        _servers.pop(place).close()


def able(modules: tuple[str, ...]) -> bool:
    """Whether this system can fork from a warm process: Linux, and no import of these modules starts threads."""
    return sys.platform == "linux" and hasattr(os, "pidfd_open") and modules not in _refused


def _same(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    return {k: v for k, v in one.items() if k not in LATER} == {k: v for k, v in other.items() if k not in LATER}


def _forget_ended_threads() -> None:
    """The warm process of a thread has ended with it."""
    there = {thread.ident for thread in threading.enumerate()}
    for place in [place for place in _servers if place[0] == os.getpid() and place[1] not in there]:
        _servers.pop(place).close()


atexit.register(close)
