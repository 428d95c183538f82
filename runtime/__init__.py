"""What a program is, its file, and the NumPy engine that steps it. Needs NumPy alone."""
