"""Benchmarks: every engine on the same stream, in turns; and a stream followed live."""
