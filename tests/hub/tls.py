"""A certificate of its own for a hub over https, made by the command ``openssl``."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """Good for 127.0.0.1 and localhost. Who is to trust it is told ``path``."""

    path: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Return what a hub takes as ``tls``."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.path, self.key)
        return context


def make_certificate(folder: Path) -> Certificate | None:
    """Make one in the folder; None where the machine has no ``openssl``."""
    if shutil.which("openssl") is None:
        return None
    made = Certificate(folder / "hub.crt", folder / "hub.key")
    options = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 2"
    names = ("-subj", "/CN=hub of tests", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost")
    into = ("-keyout", str(made.key), "-out", str(made.path))
    command = ["openssl", "req", *options.split(), *names, *into]
    subprocess.run(command, check=True, capture_output=True)
    return made
