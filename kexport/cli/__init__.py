"""The command line: options become values, the pipeline runs, records become text and an exit code.

Exit codes: 0 all pass; 1 a check failed, or a bug; 2 the request is wrong; 3 this environment cannot do it;
130 interrupted; 141 the reader of stdout went away. Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import gc
import importlib
import pkgutil
import shlex
import sys
import traceback
from collections.abc import Iterator, Sequence
from types import TracebackType

import rich_click as click

from kexport import disk
from kexport.cli import output
from kexport.errors import KexportError
from kexport.version import __version__

INTERRUPTED = 130


class InOrder(click.RichGroup):
    """Lists commands in the order in which they are used, not in that of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of `add_command`."""
        del ctx
        return list(self.commands)


@click.group(cls=InOrder, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, "-V", "--version", prog_name="kexport")
def group() -> None:
    """Keras Applications to ONNX, TFLite and SavedModel, each file with proof that it computes what Keras computes.

    Example: kexport all --formats onnx,tflite --weights random:0
    """


def commands() -> Iterator[click.Command]:
    """The ``command`` of every module here that has one, in the order of its ``ORDER``; those without come last."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    with_command = [module for module in modules if isinstance(getattr(module, "command", None), click.Command)]
    for module in sorted(with_command, key=lambda module: (getattr(module, "ORDER", sys.maxsize), module.__name__)):
        yield module.command


for _command in commands():
    group.add_command(_command)


RESUMABLE = frozenset({"export", "all"})


def _interrupted(arguments: Sequence[str]) -> str:
    """What happened, and as the last line the command that goes on, where there is one."""
    if not arguments or arguments[0] not in RESUMABLE:
        return "interrupted"
    words = (*arguments, *(() if "--resume" in arguments else ("--resume",)))
    return f"interrupted; what is complete stays, and this goes on:\n{shlex.join(['kexport', *words])}"


RARELY = (50_000, 50, 100)
"""When a command looks for cycles of garbage: it makes few, and looking took half the time of reading records."""
TOLD_BY_CLICK = frozenset({"--help", "-h", "--version"})
"""Options after which click itself writes to stdout, and nothing else is written."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a bug ends in a traceback and a line that asks for a report."""
    sys.excepthook = _report_bug
    gc.set_threshold(*RARELY)
    output.ready()
    try:
        code = _run(sys.argv[1:] if arguments is None else arguments)
    except KexportError as error:
        output.failure(error.message, hint=error.hint)
        return error.exit_code
    except click.ClickException as error:
        output.failure(error.format_message(), hint=_help(error))
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        output.message(_interrupted(sys.argv[1:] if arguments is None else arguments))
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def _run(arguments: Sequence[str]) -> object:
    try:
        return group.main(list(arguments), prog_name="kexport", standalone_mode=False)
    except OSError as error:
        disk.require_temporary(shlex.join(["kexport", *arguments]))
        if TOLD_BY_CLICK.isdisjoint(arguments):
            raise
        raise output.unwritable(error) from error


def _help(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{'kexport' if context is None else context.command_path} --help"


def _report_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    traceback.print_exception(kind, error, trace)
    output.message("this is a bug in kexport: please report it with the lines above and `kexport doctor --json`")
