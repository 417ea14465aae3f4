"""The catalog: the models that exist, as ``models.toml`` pins them."""

from __future__ import annotations

from local_opus.catalog.load import Catalog, load, parse

__all__ = ["Catalog", "load", "parse"]
