"""A program in, one format out: one module per format."""
