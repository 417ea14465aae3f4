"""The search for settings that are faster than the default, within a time limit.

Each setting runs in a process of its own, in turns with the default's, so that a busy machine slows
both. First all settings get a few pairs of rounds; the better half of those goes on with more, in
new processes; what gains is put together, and the whole is compared with the default once more, in
new processes again: what led to the choice does not confirm it. See ``devices.paired`` for the
statistic, and docs/tuning.md for the whole.

The search (``search``, ``meter``, ``bench``) touches no machine: a ``Bench`` does, and the clock is
given. ``workbench`` is that bench, ``ordering`` says what is to be tuned, ``tuner`` does it,
``tuned`` reads and writes what came of it, and ``retune`` is the command ``tune``.
"""

from local_opus.tuning.bench import Bench, Loaded, Round, Running, Tell
from local_opus.tuning.meter import MANY, OTHERS
from local_opus.tuning.search import NOT_TRIED, TOLERANCE, Outcome, Search

__all__ = [
    "MANY",
    "NOT_TRIED",
    "OTHERS",
    "TOLERANCE",
    "Bench",
    "Loaded",
    "Outcome",
    "Round",
    "Running",
    "Search",
    "Tell",
]
