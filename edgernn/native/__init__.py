"""C compiled on this machine into shared libraries that Python loads."""
