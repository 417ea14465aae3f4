"""The hub in a process of its own: see ``hub.process``."""

from hub.process import serve

serve()
