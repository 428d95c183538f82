"""Text for recipes: reading it, tokens and their numbers."""
