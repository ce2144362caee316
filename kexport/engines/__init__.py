"""Independent converters: one module per engine."""
