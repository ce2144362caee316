"""What runs under a consumer's own Python: one request a line on stdin, one answer a line on stdout.

    python loop.py CLIENT

CLIENT is the name of a module beside this file with ``version()`` and ``answer(file, rows, pictures)``. The first line
says the version, every other ``{"seconds": ...}``, with the rows of answers in the file that the request names, or
``{"refused": MESSAGE}``. What native libraries print goes to stderr.
"""

import importlib
import json
import os
import sys
import time

import numpy as np


def main(name):
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    client = importlib.import_module(name)
    say(answers, {"version": client.version()})
    for line in sys.stdin:
        say(answers, answered(client, json.loads(line)))


def answered(client, request):
    started = time.perf_counter()
    try:
        rows = client.answer(request["file"], np.load(request["rows"]), request["pictures"])
    except Exception as error:  # noqa: BLE001 - whatever a consumer says is what the table is to hold
        return {"refused": f"{type(error).__name__}: {error}"}
    np.save(request["answers"], np.asarray(rows))
    return {"seconds": time.perf_counter() - started}


def say(answers, what):
    answers.write(json.dumps(what) + "\n")
    answers.flush()


if __name__ == "__main__":
    main(sys.argv[1])
