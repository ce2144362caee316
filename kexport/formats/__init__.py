"""File formats: one module per format, its presence registers it."""
