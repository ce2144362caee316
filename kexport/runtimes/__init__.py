"""What executes artifacts: one module per runtime, its presence registers it."""
