"""Which licences are free: they need no consent. Pure.

Free means here: anyone may use the weights for anything, and terms bind only who passes them on.
A licence that forbids uses, counts users or asks for consent is none of them, whatever its name.
"""

from __future__ import annotations

from local_opus.values import HttpsSource, HubSource, Model, WheelSource

#: Where a repository's page is, with its card and its licence.
HUB = "https://huggingface.co"
#: Identifiers of SPDX and of the hub, in lower case: of its licences those that OSI, FSF or the
#: Open Definition call free. The OpenRAIL family forbids uses, so it is not among them.
FREE = frozenset(
    {
        *("apache-2.0", "mit", "mit-0", "isc", "zlib", "unlicense", "0bsd", "bsl-1.0", "wtfpl"),
        *("bsd", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "ncsa", "artistic-2.0"),
        "postgresql",
        *("cc0-1.0", "cc-by-4.0", "cc-by-3.0", "cc-by-sa-4.0", "cc-by-sa-3.0"),
        *("mpl-2.0", "epl-2.0", "epl-1.0", "eupl-1.1", "eupl-1.2", "ms-pl", "afl-3.0", "osl-3.0"),
        *("gpl", "gpl-2.0", "gpl-2.0-only", "gpl-2.0-or-later"),
        *("gpl-3.0", "gpl-3.0-only", "gpl-3.0-or-later"),
        *("agpl-3.0", "agpl-3.0-only", "agpl-3.0-or-later"),
        *("lgpl", "lgpl-2.1", "lgpl-2.1-only", "lgpl-2.1-or-later"),
        *("lgpl-3.0", "lgpl-3.0-only", "lgpl-3.0-or-later"),
        *("cdla-permissive-1.0", "cdla-permissive-2.0", "odc-by", "pddl"),
    }
)


def is_free(license_id: str) -> bool:
    """Whether a licence, or each of several joined by AND, needs no consent.

    Anything that is not known is not free. Of an expression with OR nothing is concluded.
    """
    return all(part.strip() in FREE for part in license_id.casefold().split(" and "))


def page(model: Model) -> str:
    """Return where the terms of a model's licence can be read."""
    source = model.source
    if isinstance(source, HubSource):
        return f"{HUB}/{source.repo}"
    if isinstance(source, HttpsSource):
        return source.bases[0]
    if isinstance(source, WheelSource):
        return f"the page of the package {source.requirement.partition('==')[0]}"
    return source.folder
