"""Exit codes, messages, streams, and how fast the program answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from kexport import __version__
from kexport.cli import group, listing, verdict
from kexport.errors import DeviceError, UsageError

HEAVY = ("keras", "tensorflow", "onnxruntime", "onnx", "pydantic", "ai_edge_litert", "jax", "torch")
COMMANDS = [
    "list", "export", "all", "classify", "inspect", "parity", "bench", "sensitivity", "report", "diff", "bundle",
    "verify", "sign", "doctor", "demo",
]  # fmt: skip


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | environment,
        check=False,
    )


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["list", "--json"], ["export", "--help"]])
def test_nothing_heavy_is_imported(arguments: list[str]) -> None:
    ended = python(
        f"import sys\nfrom kexport.cli import main\ncode = main({arguments!r})\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\nsys.exit(code)"
    )
    assert (ended.returncode, ended.stderr) == (0, "[]\n")
    assert ended.stdout


def test_works_where_nothing_heavy_is_installed() -> None:
    blocked = f"import sys\nsys.modules.update(dict.fromkeys({HEAVY!r}))\n"
    ended = python(blocked + "from kexport.cli import main\nsys.exit(main(['list', '--json']))")
    assert ended.returncode == 0
    assert len(json.loads(ended.stdout)) == 40


def test_commands_in_the_order_of_use() -> None:
    assert group.list_commands(group.make_context("kexport", ["list"])) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented_with_an_example(command: str) -> None:
    documented = group.commands[command]
    assert f"Example: kexport {command}" in (documented.help or "")
    for parameter in documented.params:
        text = getattr(parameter, "help", None)
        assert text is None or "e.g." in text, parameter.name
    result = CliRunner().invoke(group, [command, "--help"])
    assert result.exit_code == 0
    assert "Example" in result.output


def test_version(call) -> None:  # type: ignore[no-untyped-def]
    assert call("--version").out.split()[-1] == __version__


def test_unknown_option_is_usage(call) -> None:  # type: ignore[no-untyped-def]
    ended = call("list", "--jsn")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: No such option")
    assert ended.err.endswith("hint: kexport list --help\n")


@pytest.mark.parametrize(("error", "code"), [(UsageError("no", hint="do"), 2), (DeviceError("no", hint="do"), 3)])
def test_deliberate_errors_become_two_lines(  # type: ignore[no-untyped-def]
    call, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    def fail() -> list[dict[str, object]]:
        raise error

    monkeypatch.setitem(listing._LISTS, "models", fail)
    ended = call("list")
    assert (ended.code, ended.out, ended.err) == (code, "", "error: no\nhint: do\n")


def test_interrupt_is_130(call, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    def interrupt() -> list[dict[str, object]]:
        raise KeyboardInterrupt

    monkeypatch.setitem(listing._LISTS, "models", interrupt)
    ended = call("list")
    assert (ended.code, ended.err.strip()) == (130, "interrupted")


@pytest.mark.parametrize("more", [(), ("--resume",)])
def test_after_an_interrupt_the_last_line_goes_on(call, recorded, more: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    recorded.answer = interrupt
    ended = call("export", "ResNet50", "-o", "a b", *more)
    assert ended.code == 130
    assert ended.err.splitlines()[-1] == "kexport export ResNet50 -o 'a b' --resume"


def test_a_bug_shows_its_traceback_and_asks_for_a_report() -> None:
    ended = python(
        "import sys\nfrom kexport.cli import main, listing\n"
        "listing._LISTS['models'] = lambda: 1 / 0\nsys.exit(main(['list']))"
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "ZeroDivisionError" in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("this is a bug in kexport: please report it")


def test_closed_stdout_is_quiet() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, "-m", "kexport", "list"], stdout=writer, stderr=subprocess.PIPE, timeout=120, check=False
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_an_empty_folder_name_is_not_the_present_folder(call) -> None:  # type: ignore[no-untyped-def]
    ended = call("export", "ResNet50", "-o", "")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        "error: -o '': expected the name of a folder\nhint: -o artifacts, or -o . for the present folder\n"
    )


@pytest.mark.parametrize("arguments", ["list", "--help", "export --help", "--version"])
def test_a_full_disk_behind_stdout_is_told(arguments: str) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "kexport", *arguments.split()],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert ended.returncode == 3
    assert ended.stderr == "error: standard output cannot be written: No space left on device\nhint: df -h\n"


@pytest.mark.parametrize(("arguments", "code"), [("list", 0), ("export Nope", 2), ("--help", 0), ("verify nowhere", 2)])
def test_closed_streams_change_nothing_but_the_words(arguments: str, code: int) -> None:
    for closed in (">&-", "2>&-", "<&-", ">&- 2>&- <&-"):
        script = f'"$0" -m kexport {arguments} {closed}'
        ended = subprocess.run(
            ["sh", "-c", script, sys.executable], capture_output=True, text=True, timeout=120, check=False
        )
        assert ended.returncode == code, closed
        assert "Traceback" not in ended.stdout + ended.stderr, closed


@pytest.mark.parametrize("columns", ["0", "-5", "abc", "", "20"])
def test_any_width_shows_the_help(columns: str) -> None:
    ended = python("from kexport.cli import main\nmain(['export', '--help'])", COLUMNS=columns)
    assert ended.returncode == 0
    assert "--weights" in ended.stdout


def test_a_character_that_the_terminal_lacks() -> None:
    ended = python("from kexport.cli import output\noutput.ready()\noutput.data('10 · 20')", PYTHONIOENCODING="ascii")
    assert (ended.stdout, ended.returncode) == ("10 ? 20\n", 0)


def test_no_color() -> None:
    forced = {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    command = "from kexport.cli import main\nmain(['--help'])"
    assert "\x1b[" not in python(command, NO_COLOR="1", TERM="xterm-256color").stdout
    assert "\x1b[" in python(command, **forced).stdout


def test_module_is_the_program() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "kexport", "--version"], capture_output=True, text=True, timeout=120, check=False
    )
    assert __version__ in ended.stdout


def test_no_absolute_path_of_this_machine_in_the_help() -> None:
    text = "".join(CliRunner().invoke(group, [name, "--help"]).output for name in COMMANDS)
    assert str(Path.cwd()) not in text


def test_the_last_line_can_be_copied() -> None:
    last = verdict.text((), directory=Path("a b/$x"), seconds=1.0).splitlines()[-1]
    assert last == "kexport report 'a b/$x'"
