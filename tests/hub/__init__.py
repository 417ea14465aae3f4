"""A Hugging Face hub on loopback, in the standard library alone, that can be told to misbehave.

with Hub() as hub:
    repository = hub.add("some/repo", {"config.json": b"{}", "model.gguf": Path("/file")})
    hub.misbehave(Mischief("truncate", on="cdn", path="*.gguf", at=1000, first=2))
    ...  # a client with HF_ENDPOINT=hub.url, NO_PROXY=*
    assert [request.range for request in hub.asked("model.gguf", place="cdn")] == [...]
    assert hub.sent()["model.gguf"] <= ...
"""

from hub.contents import Content, generated
from hub.mischief import Mischief
from hub.process import HubProcess
from hub.repositories import Repository
from hub.requests import Request
from hub.server import Hub

__all__ = ["Content", "Hub", "HubProcess", "Mischief", "Repository", "Request", "generated"]
