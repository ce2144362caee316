"""A server on loopback that answers as told: whole, cut off, stalled, with other bytes, elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Script:
    """What the server does: one word per request, the last one for all that follow; and what it was asked."""

    content: bytes = b""
    answers: list[str] = field(default_factory=lambda: ["whole"])
    tag: str = '"1"'
    location: str = ""
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def next(self) -> str:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Handler(BaseHTTPRequestHandler):
    script: Script

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        script = self.script
        script.asked.append(self.headers.get("Range", ""))
        word, content, start = script.next(), script.content, 0
        if word.isdecimal():
            self.send_error(int(word))
            return
        if word == "elsewhere":
            self.send_response(302)
            self.send_header("Location", script.location)
            self.end_headers()
            return
        if word == "other bytes":
            content = b"<html>Log in</html>"
        asked = self.headers.get("Range")
        if asked and word != "ignores ranges" and self.headers.get("If-Range") == script.tag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        wrong = 7 if word == "another part" and start else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start + wrong}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", script.tag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.send(word, content[start:])

    def send(self, word: str, content: bytes) -> None:
        half = len(content) // 2
        try:
            if word == "cut off":
                self.wfile.write(content[:half])
            elif word == "stalls":
                self.wfile.write(content[:half])
                self.wfile.flush()
                time.sleep(3)
            elif word == "trickles":
                for index in range(30):
                    self.wfile.write(content[index : index + 1])
                    self.wfile.flush()
                    time.sleep(0.1)
            else:
                self.wfile.write(content)
        except OSError:
            pass
        self.close_connection = True


@contextmanager
def serving(script: Script) -> Iterator[ThreadingHTTPServer]:
    handler = type("Told", (Handler,), {"script": script})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        script.url = f"http://127.0.0.1:{server.server_port}/x.h5"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
