"""Execute docs/edge.md in an empty folder and paste what its commands say: from a fine-tuned network to class names.

Needs scikit-learn beside kexport's packages, Chromium, Node 20, a ``node_modules`` with onnxruntime-web and an
environment with tflite-micro (tests/consumers/web.py and micro.py say which)::

    PYTHONPATH=. python tests/consumers/edge.py --node-modules DIR --micro DIR [--shot PAGE.png] [--check]

Exit 1 where a command fails or a device names another class than the others; ``--check`` leaves the document alone, and
exit 1 is then also for a document that shows something else, numbers aside.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.consumers.web import driven
from tests.tutorials.run import alike

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "edge.md"
STEP = re.compile(r"^<!-- step: (?P<name>\w+) -->\n```sh\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = r"(^<!-- shown: {} -->\n```text\n).*?(^```$)"
WANTED = "prime"
DEVICES = ("android", "web", "pi", "micro")


@dataclass
class Run:
    """What was said, by the names of the blocks, and the seconds of each command."""

    folder: Path
    said: dict[str, str] = field(default_factory=dict)
    seconds: list[tuple[str, float]] = field(default_factory=list)

    def command(self, line: str) -> str:
        """Standard output of one line of the document. Raises CalledProcessError where it fails."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        quiet = {"NO_COLOR": "1", "COLUMNS": "100", "TF_CPP_MIN_LOG_LEVEL": "3", "CI": "1"}
        start = time.monotonic()
        paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, **quiet, "PATH": path, "PYTHONPATH": paths}
        done = subprocess.run(["sh", "-c", line], cwd=self.folder, env=environment, capture_output=True, text=True,
                              check=False)  # fmt: skip
        self.seconds.append((line, time.monotonic() - start))
        if done.returncode:
            sys.stderr.write(f"{line}\n{done.stdout}\n{done.stderr}\n")
            raise subprocess.CalledProcessError(done.returncode, line)
        return done.stdout.strip()

    def page(self, shot: Path | None) -> str:
        """The browser's self-test, and the classes of the photograph."""
        shutil.copyfile(self.folder / "seven.jpg", self.folder / "web" / "seven.jpg")
        server = subprocess.Popen([sys.executable, "-u", "serve.py", "0"], cwd=self.folder / "web", text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # fmt: skip
        assert server.stdout is not None
        address, start = server.stdout.readline().strip(), time.monotonic()
        try:
            test = driven(f"{address}/?self-test")
            named = driven(f"{address}/?image=seven.jpg", shot)
        finally:
            server.terminate()
            server.wait()
        self.seconds.append(("Chromium: self-test and photograph", time.monotonic() - start))
        if test["state"] != "passed" or named["problems"]:
            raise subprocess.CalledProcessError(1, "Chromium", f"{test} {named}")
        return "\n".join([test["status"], *("  ".join(reversed(line)) for line in named["classes"])])


def executed(document: str, run: Run, shot: Path | None) -> None:
    """Every step in its order."""
    code = document.partition("`train.py`:\n\n```python\n")[2].partition("```\n")[0]
    (run.folder / "train.py").write_text(code)
    for step in STEP.finditer(document):
        lines = step["text"].strip().splitlines()
        run.said[step["name"]] = "\n".join(text for text in map(run.command, lines) if text)
    run.said["web"] = run.page(shot)
    typed = [line for line, _ in run.seconds if not line.startswith("Chromium")]
    total = sum(seconds for _, seconds in run.seconds)
    rows = [f"{seconds:6.1f} s  {line if len(line) < 80 else line[:77] + '...'}" for line, seconds in run.seconds]
    run.said["times"] = "\n".join([*rows, f"{total:6.1f} s  {len(typed)} commands and a browser"])


def wrong(run: Run) -> list[str]:
    """The devices whose first class is another."""
    firsts = {name: re.search(r"\b(composite|neither|prime)\b", run.said[name]) for name in DEVICES}
    return [name for name, found in firsts.items() if found is None or found[0] != WANTED]


def pasted(document: str, said: dict[str, str]) -> str:
    """The document with what was said."""
    for name, text in said.items():
        block = re.compile(SHOWN.format(name), re.MULTILINE | re.DOTALL)
        document = block.sub(lambda found, text=text: f"{found[1]}{text}\n{found[2]}", document)  # type: ignore[misc]
    return document


def main() -> int:
    """Execute, compare, paste."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--node-modules", type=Path, required=True)
    parser.add_argument("--micro", type=Path, required=True)
    parser.add_argument("--shot", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    document = DOCUMENT.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as name:
        run = Run(Path(name))
        (run.folder / "node_modules").symlink_to(options.node_modules.resolve())
        (run.folder / "micro").symlink_to(options.micro.resolve())
        executed(document, run, options.shot)
    true = pasted(document, run.said)
    if not options.check:
        DOCUMENT.write_text(true, encoding="utf-8")
    sys.stdout.write("\n\n".join(f"{name}\n{text}" for name, text in run.said.items()) + "\n")
    sys.stdout.write(f"\nother classes: {', '.join(wrong(run)) or 'none'}\n")
    drifted = options.check and not alike(true, document)
    sys.stdout.write(f"the document shows {'something else' if drifted else 'this'}\n")
    return 1 if wrong(run) or drifted else 0


if __name__ == "__main__":
    sys.exit(main())
