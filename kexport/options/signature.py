"""Options as the keyword arguments of a function: its signature and its documentation."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from kexport.options.entry import Option

Function = TypeVar("Function", bound=Callable[..., Any])


def keywords(*options: Option) -> Callable[[Function], Function]:
    """Give a function that takes ``**options`` the signature and the documentation of these options."""

    def documented(function: Function) -> Function:
        given = inspect.signature(function)
        last = next(each for each in given.parameters.values() if each.kind is inspect.Parameter.VAR_KEYWORD)
        own = [each for each in given.parameters.values() if each is not last]
        added = [
            inspect.Parameter(
                each.word, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=each.kind.python
            )
            for each in options
        ]
        earlier = last.replace(name="earlier_words")
        signature = given.replace(parameters=[*own, *added, earlier])
        setattr(function, "__signature__", signature)  # noqa: B010 - mypy knows no signature of a function
        lines = "\n".join(f"    {each.word}: {each.meaning}." for each in options)
        before = ", ".join(f"``{each.was}`` ({each.word})" for each in options if each.was)
        function.__doc__ = (
            f"{inspect.cleandoc(function.__doc__ or '')}\n\nOptions:\n{lines}\n\nEarlier words: {before}.\n"
        )
        return function

    return documented
