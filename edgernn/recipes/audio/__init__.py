"""Recordings of words: reading, streams composed of them, and how well words are found."""
