"""Keys: of the node's clients, of its own tools, and of clouds; kept as systemd's credentials."""
