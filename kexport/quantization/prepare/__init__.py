"""A graph made ready for int8: rewritten, equalised, every node with its precision."""
