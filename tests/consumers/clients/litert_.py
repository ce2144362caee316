"""LiteRT's interpreter with its default delegate."""

from importlib.metadata import version as of

from ai_edge_litert.interpreter import Interpreter
from interpreted import answers


def version():
    return of("ai-edge-litert")


def answer(file, rows, pictures):
    return answers(Interpreter(file, num_threads=1), rows)
