"""Scales and zero points of a plan's values, legal for every runtime."""
