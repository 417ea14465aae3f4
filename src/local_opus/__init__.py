"""Local Opus: from a bare Linux machine to a verified local inference node."""

__version__ = "0.1.0"
