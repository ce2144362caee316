"""What is found out about an artifact: parity, what really executed, accuracy on photographs, latency."""
