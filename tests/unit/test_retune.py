"""``tune`` is a run as others are: one at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes import FakeHost
from local_opus import node
from local_opus.errors import LocalOpusError
from local_opus.host import locks
from local_opus.locations import locate
from local_opus.tuning import retune, tuner
from local_opus.values import Scope
from local_opus.values.tuning import Tuned, TuningOrder

ORDER = TuningOrder.model_construct()
RESULT = Tuned.model_construct()


def test_no_other_run_begins_while_it_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = FakeHost(tmp_path)
    places = locate(Scope.USER, host.environ)
    host.files.make_folders(places.state)
    said: list[str] = []

    def tune(*_: object) -> Tuned:
        with pytest.raises(LocalOpusError) as caught:
            retune.measure(host, places, ORDER, lambda *_: None)
        said.append(caught.value.message)
        return RESULT

    monkeypatch.setattr(node, "serving", lambda *_: None)
    monkeypatch.setattr(tuner, "tune", tune)
    assert retune.measure(host, places, ORDER, lambda *_: None) is RESULT
    assert len(said) == 1
    assert not locks.is_held(host.files, places.lock)
