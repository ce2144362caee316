"""Records to text: one module per report format."""
