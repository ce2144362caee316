"""The version of the package, and nothing else: whoever writes it into a file imports it from here."""

from __future__ import annotations

__version__ = "0.2.0"
