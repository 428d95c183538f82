"""Other engines behind one interface, for holding the program against them."""
