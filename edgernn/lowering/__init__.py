"""From the float graph to the integer program: `program.lower`, and the builder that cells use."""
