"""Devices by the names that users, profiles and configs give them: OpenVINO's own. Pure."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from local_opus.errors import did_you_mean
from local_opus.validation import shown
from local_opus.values import Device

#: What a user may say instead of a name: the program picks one.
AUTO = "auto"
_PATTERN = r"(CPU|NPU|GPU(\.(0|[1-9][0-9]?))?)"
_NAME = re.compile(rf"{_PATTERN}\Z")
_ONE_OF_A_LIST = rf"-?{_PATTERN}(\([0-9]{{1,3}}\))?"
#: OpenVINO's devices that choose among others, with or without those that they may take.
_CHOOSER = re.compile(
    rf"(AUTO|HETERO|MULTI|BATCH)(:{_ONE_OF_A_LIST}(,{_ONE_OF_A_LIST}){{0,7}})?\Z", re.ASCII
)
#: The names that are offered; a GPU has its number besides.
WORDS = (AUTO, *(device.value for device in Device))
CHOICES = f"{', '.join(WORDS)}, or one GPU of several: GPU.0, GPU.1"

#: One device in OpenVINO's words. "GPU" means its first, which is not always the best.
DeviceName = Annotated[str, StringConstraints(pattern=rf"\A{_PATTERN}\z")]


def is_name(word: str) -> bool:
    """Say whether a word is a device's name, in the form of one; it need not be there."""
    return _NAME.match(word) is not None


def chooses(word: str) -> bool:
    """Say whether a word is that of a device that chooses among others: it is of no one kind."""
    return _CHOOSER.match(word) is not None


def near(word: str) -> str:
    """Return a question with the nearest name, or nothing; it begins with a space."""
    return did_you_mean(word.partition(".")[0], list(WORDS))


def kind_of(name: str) -> Device:
    """Return what a device is. Raises ValueError for no device's name."""
    if not is_name(name):
        raise ValueError(f"{shown(name)} is no device's name")
    return Device(name.partition(".")[0])


def _served(word: str) -> str:
    if not is_name(word) and not chooses(word):
        raise ValueError(f"must be a device such as CPU, GPU, GPU.1 or NPU, not {shown(word)}")
    return word


#: What a server's config may say.
ServedDevice = Annotated[str, AfterValidator(_served)]


def _known(word: str) -> str:
    if word != AUTO and not is_name(word):
        raise ValueError(f"must be one of {CHOICES}, not {shown(word)}.{near(word)}".rstrip("."))
    return word


#: What a profile or an answers file may say, letter by letter.
DeviceWord = Annotated[str, AfterValidator(_known)]
