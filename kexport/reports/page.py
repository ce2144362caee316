"""Pages of HTML that stand alone: a template of this package, every value escaped, plotly's drawings in the file."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from kexport.errors import MissingDependencyError

TEMPLATES = Path(__file__).parent / "templates"


def filled(template: str, **values: Any) -> str:
    """The template with its values. MissingDependencyError where the extra ``report`` is not installed."""
    jinja = needed("jinja2")
    loader = jinja.FileSystemLoader(TEMPLATES)
    templates = jinja.Environment(
        loader=loader, autoescape=True, undefined=jinja.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return str(templates.get_template(template).render(**values))


def plotly_objects() -> Any:
    """The module with plotly's figures and what they are made of."""
    return needed("plotly.graph_objects")


def drawing(figure: Any) -> Any:
    """A figure as markup for `filled`, with the script that draws it; nothing is fetched."""
    config = {"displayModeBar": False, "displaylogo": False, "plotlyServerURL": "", "responsive": True}
    made = figure.to_html(full_html=False, include_plotlyjs=True, div_id="plot", config=config)
    return needed("markupsafe").Markup(made)


def plotly_script() -> Any:
    """Plotly's own script as markup, for pages that draw for themselves."""
    return needed("markupsafe").Markup(needed("plotly.offline").get_plotlyjs())


def needed(module: str) -> Any:
    """The module, imported. MissingDependencyError with the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"a page of HTML needs jinja2 and plotly: {error}", hint="pip install 'kexport[report]'"
        ) from error


def check() -> None:
    """Raise MissingDependencyError before work begins whose page could not be written."""
    for module in ("jinja2", "plotly.graph_objects"):
        needed(module)
