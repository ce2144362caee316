"""Graph rewrites: one module per pass; each takes a graph and returns an equal one."""
