"""A loaded model made what was asked for: float32, another size, ending at other layers."""
