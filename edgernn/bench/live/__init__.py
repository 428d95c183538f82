"""A stream followed live: where it comes from, its deadlines, and what the terminal shows."""
