"""What a conversion left: the right files, sound, on the disk, and hashed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local_opus.errors import LocalOpusError
from local_opus.values import Trust
from local_opus.weights.digest import SEGMENT_SIZE, hash_stream
from local_opus.weights.fetch import manifest_file
from local_opus.weights.inspect import check_ir
from local_opus.weights.manifest import DerivedOrigin, ManifestFile
from local_opus.weights.sources.arrival import Fetched
from local_opus.weights.structure import Refusal, printable

if TYPE_CHECKING:
    from local_opus.host import Host

#: The three graphs that a conversion writes.
STEMS = ("openvino_model", "openvino_tokenizer", "openvino_detokenizer")
NAMES = frozenset(f"{stem}.{suffix}" for stem in STEMS for suffix in ("xml", "bin"))


def settle(host: Host, work: str, sha256: str, converter: str) -> tuple[ManifestFile, ...]:
    """Check what the worker wrote into ``work``, give it its modes, and hash it.

    ``sha256`` is that of the GGUF, ``converter`` the name and version of what read it. Raises
    LocalOpusError where it is not sound.
    """
    found = {path for path, _ in host.files.walk(work)}
    if found != NAMES:
        odd = ", ".join(printable(name) for name in sorted(found ^ NAMES))
        raise LocalOpusError(
            f"{work}: the conversion left other files than it should: {odd}",
            "Run this again; if it stays so, report it.",
        )
    summaries: dict[str, dict[str, int | str | bool | None]] = {}
    for stem in STEMS:
        answer = check_ir(host, f"{work}/{stem}")
        if isinstance(answer, Refusal):
            raise LocalOpusError(
                f"{stem}.xml: the conversion left a {answer.verdict} file: {answer.reason}",
                "Look at the free space of the disk, then run this again.",
            )
        summaries[stem] = answer.summary()
    files = []
    for name in sorted(NAMES):
        path = f"{work}/{name}"
        host.files.set_mode(path, 0o644)
        host.files.sync(path)
        stat = host.files.stat(path)
        with host.files.open_read(path, follow=False) as stream:
            limit = stat.size if stat is not None else 0
            digests = hash_stream(stream, limit=limit, segment_size=SEGMENT_SIZE)
        structure = dict(summaries[name.rpartition(".")[0]]) if name.endswith(".xml") else {}
        origin = DerivedOrigin(sha256=sha256, converter=converter)
        files.append(manifest_file(
            Fetched(name, digests, origin, Trust.DERIVED, {**structure}, new=True)
        ))  # fmt: skip
    return tuple(files)
