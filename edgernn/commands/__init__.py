"""The commands of `edgernn`, one module each; `edgernn.cli` puts them together."""
