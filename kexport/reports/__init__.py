"""Records to text: one module per report format.

A module named after its format, with ``render(records) -> str``, is a format: its presence registers it.
Records come sorted by model, format and scheme. Shared derivations are in `tables` and `verdict`; `terminal`
makes rich renderables of the same tables.
"""
