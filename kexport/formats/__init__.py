"""File formats: one folder each, whose ``__init__.py`` registers it (`kexport.registry`) without heavy imports.

A folder holds what only its format knows: ``engines/`` with one file for each that writes it, and their helpers.
"""

from __future__ import annotations

from kexport.records import WrittenFile

__all__ = ["WrittenFile"]
