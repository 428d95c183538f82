"""Latency and accuracy against the float reference and other engines."""
