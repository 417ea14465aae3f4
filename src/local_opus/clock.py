"""What a wrong clock breaks: certificates are valid for a time. Standard library alone."""

from __future__ import annotations

import re
import time

from local_opus.errors import MachineCannotError

#: OpenSSL's words (X509_verify_cert_error_string(3)), as Python, pip and requests pass them on.
_OUT_OF_TIME = re.compile(
    r"(?:certificate|CRL) (is not yet valid|has expired)|certificate (expired)", re.IGNORECASE
)


def blamed(words: str, whose: str) -> MachineCannotError | None:
    """Return the error for ``words`` that refuse the certificate of ``whose`` for its dates.

    None where they say something else. Who is wrong, the clock or the certificate, can't be known
    from here, so the time is named and the user sees it.
    """
    found = _OUT_OF_TIME.search(words)
    if found is None:
        return None
    how = "is not valid yet" if "not yet" in found[0].lower() else "is no longer valid"
    now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    return MachineCannotError(
        f"the certificate of {whose} {how} by this machine's clock, which says {now}",
        "Set the clock (`timedatectl set-ntp true`, or `date`) and run it again; "
        "if it is right, the certificate is at fault",
    )
