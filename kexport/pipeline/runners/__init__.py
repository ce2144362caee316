"""Where tasks run: one module per kind of place."""
