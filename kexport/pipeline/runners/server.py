"""The warm process: imports once what workers need, then forks one of them per request.

It has a single thread when it forks, and says so if not: a lock that another thread holds would stay locked in the
child for ever. The child is what a fresh worker is: leader of its own group, its own environment and folder, killed
as soon as the server ends, its memory limited. Linux only.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import selectors
import socket
import sys
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from kexport import machine
from kexport.pipeline.steps import Clock

MESSAGE_BYTES = 2**17
IDLE_SECONDS = 120.0
THREADS = Path("/proc/self/task")


def serve(descriptor: int, modules: Sequence[str]) -> None:
    """Import the modules, then answer until the connection ends or nobody has asked anything for a while."""
    from kexport.pipeline.worker import attempt

    gc.disable()  # what modules make stays: to look for garbage in it takes time and finds little
    for name in modules:  # what cannot be imported is met again, and told, by the task that needs it
        attempt(partial(importlib.import_module, name), Clock(hears=lambda _: None))
    gc.freeze()  # what is shared stays shared: the collector does not write into it
    gc.enable()
    with socket.socket(fileno=descriptor) as connection, selectors.DefaultSelector() as selector:
        _Server(connection, selector).run()


def threads() -> tuple[str, ...]:
    """The names of the other threads of this process, those of C libraries included."""
    others = [task for task in THREADS.iterdir() if task.name != str(os.getpid())]
    return tuple(sorted((task / "comm").read_text().strip() for task in others))


class _Server:
    """Answers requests; every message is one JSON value, with the number of the request in it."""

    def __init__(self, connection: socket.socket, selector: selectors.BaseSelector) -> None:
        self._connection, self._selector = connection, selector
        self._children: dict[int, int] = {}
        self._ending = False
        selector.register(connection, selectors.EVENT_READ)

    def run(self) -> None:
        while True:
            ready = self._selector.select(IDLE_SECONDS)
            if not ready and not self._children and not self._ending:
                self._connection.shutdown(socket.SHUT_RD)  # who asks from now on is told, and starts another
                self._ending = True
            for key, _ in ready:
                if key.data is not None:
                    self._ended(key.fd, key.data)
                elif not self._take():
                    return

    def _take(self) -> bool:
        """Answer one message; False at the end of the connection."""
        data, files, *_ = socket.recv_fds(self._connection, MESSAGE_BYTES, 3)
        if not data:
            return False
        request = json.loads(data)
        if "reap" in request:
            self._reap(request["reap"])
        elif self._ending:
            self._tell(number=request["number"], refused="the warm process was just ending", late=True)
        elif others := threads():
            names = ", ".join(sorted(set(others)))
            self._tell(number=request["number"], refused=f"the warm process has {len(others)} more threads ({names})")
        else:
            self._fork(request, files)
        for file in files:
            os.close(file)
        return True

    def _fork(self, request: dict[str, Any], files: Sequence[int]) -> None:
        server = os.getpid()
        sys.stdout.flush()
        pid = os.fork()
        if not pid:
            self._connection.close()
            self._selector.close()
            _be_worker(request, files, server)
        number = request["number"]
        self._children[number] = pid
        self._selector.register(os.pidfd_open(pid), selectors.EVENT_READ, number)
        self._tell(number=number, pid=pid)

    def _ended(self, descriptor: int, number: int) -> None:
        """A child has ended; it keeps its id until who asked has seen to what it left, and lets it be reaped."""
        self._selector.unregister(descriptor)
        os.close(descriptor)
        self._tell(number=number, ended=True)

    def _reap(self, number: int) -> None:
        _, status, usage = os.wait4(self._children.pop(number), 0)
        self._tell(number=number, code=os.waitstatus_to_exitcode(status), peak_bytes=usage.ru_maxrss * 1024)

    def _tell(self, **message: Any) -> None:
        self._connection.sendall(json.dumps(message).encode())


def _be_worker(request: dict[str, Any], files: Sequence[int], server: int) -> NoReturn:
    """In the child: do what a fresh worker does, and end without a look back at the server's frames."""
    code = 1
    try:
        os.setsid()
        machine.end_with_parent(server)
        stdout, stderr, folder = files
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        os.fchdir(folder)
        for file in files:
            os.close(file)
        for name in request["without"]:
            del os.environ[name]
        os.environ.update(request["environment"])
        from kexport.pipeline import worker

        code = worker.work(request["arguments"])
    finally:
        os._exit(_ending(sys.exception(), code))


def _ending(error: BaseException | None, code: int) -> int:
    """The exit code, and on stderr what a program that ends so says there."""
    if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
        code = error.code or 0
    elif error is not None:
        traceback.print_exception(error)
    sys.stdout.flush()
    sys.stderr.flush()
    return code
