"""One HTML file about an exported model: what it costs, what it loses and where, and if it fits."""
