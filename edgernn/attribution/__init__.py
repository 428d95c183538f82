"""Where the error of an integer program comes from: each rounding switched on and off by itself."""
