"""Runs the server."""

from __future__ import annotations

from local_opus.server.main import main

raise SystemExit(main())
