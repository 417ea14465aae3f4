"""The monitor: what it sees of every server of the node, and what it makes of that."""
