"""The worker that makes and checks OpenSSF model signatures with a plain key.

Requests name a ``folder``, a ``key`` (the path of a PEM file) and the files to ``ignore``:

- ``{"do": "sign", "password": text or null}``; result ``{"signature": text, "signed": names}``.
- ``{"do": "check", "signature": path}``; result ``{"holds": bool, "signed": names or null,
  "problems": lines}``. Null: the signature is not by this key, or is none at all, so nothing that
  it says counts. Files that it does not speak of are for the parent to find.

Both results hold ``key``, the sha256 of the public key's PEM, which is how a signature names its
key. A key or a file that can't be used is ``{"refused": reason, "about": path}``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from local_opus.runtime import protocol
from local_opus.runtime.worker import Emit, answer_one

#: The curves that the format has signature schemes for, as the library names them.
_CURVES = {"secp256r1", "secp384r1", "secp521r1"}
_NEEDED = "an EC key of the curve P-256, P-384 or P-521 is needed"
_PREDICATE = "https://model_signing/signature/v1.0"
#: What a file that is no signature makes its parsers raise.
_MALFORMED = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


class _RefusedError(Exception):
    """A file that the user named can't be used."""

    def __init__(self, reason: str, about: str) -> None:
        super().__init__(reason)
        self.answer: dict[str, object] = {"refused": reason, "about": about}


def handle(request: protocol.Message, _emit: Emit) -> Mapping[str, object]:
    """Answer one request."""
    try:
        return _sign(request) if request["do"] == "sign" else _check(request)
    except _RefusedError as error:
        return error.answer


def _sign(request: protocol.Message) -> Mapping[str, object]:
    from model_signing import signing

    path, word = str(request["key"]), cast("str | None", request["password"])
    password = None if word is None else word.encode()
    fingerprint = _fingerprint(_private_key(path, password).public_key())
    hashing = _hashing(cast("list[str]", request["ignore"]), {})
    config = signing.Config().use_elliptic_key_signer(private_key=path, password=password)
    with tempfile.TemporaryDirectory(prefix="local-opus-") as scratch:
        try:
            config.set_hashing_config(hashing).sign(str(request["folder"]), f"{scratch}/model.sig")
        except OSError as error:
            about = _plain(str(error.filename or request["folder"]))
            raise _RefusedError(error.strerror or str(error), about) from error
        text = Path(scratch, "model.sig").read_text(encoding="utf-8")
    return {"key": fingerprint, "signature": text, "signed": sorted(_digests(hashing))}


def _check(request: protocol.Message) -> Mapping[str, object]:
    from model_signing import verifying

    path, signature = str(request["key"]), str(request["signature"])
    answer: dict[str, object] = {"key": _fingerprint(_public_key(path)), "holds": False}
    try:
        said = _said_by(signature)
        signed = {_plain(item["name"]): item["digest"] for item in said["resources"]}
        shards = said["serialization"]["method"] == "shards"
        paths = {name.rsplit(":", 2)[0] if shards else name for name in signed}
        ignored = [name for name in cast("list[str]", request["ignore"]) if name not in paths]
        hashing = _hashing(ignored, said["serialization"])
    except _MALFORMED as error:
        return {**answer, "signed": None, "problems": [f"no model signature: {_told(error)}"]}
    config = verifying.Config().use_elliptic_key_verifier(public_key=path)
    config.set_hashing_config(hashing)
    problem = _verify(config, str(request["folder"]), signature)
    if hashing.found is None:  # it never came to the files
        return {**answer, "signed": None, "problems": [problem]}
    found = _digests(hashing)
    names = sorted(name for name in signed if found.get(name) != signed[name])
    return {
        **answer,
        "holds": problem is None,
        "signed": sorted(paths),
        "problems": [f"{name}: {_what(signed[name], found.get(name))}" for name in names],
    }


def _verify(config: Any, folder: str, signature: str) -> str | None:  # noqa: ANN401 - the library's
    """Return why the signature does not hold, None where it does."""
    from cryptography.exceptions import InvalidSignature

    try:
        config.verify(folder, signature)
    except InvalidSignature:
        return "it was changed, or is not by this key"
    except OSError as error:
        return _plain(f"{error.filename}: {error.strerror or error}")
    except _MALFORMED as error:
        if "Key mismatch" in str(error):
            return "it is by another key"
        return f"no signature with a plain key: {_told(error)}"
    return None


def _said_by(signature: str) -> dict[str, Any]:
    """Return what a signature states of a model: not proven yet. Raises one of _MALFORMED."""
    bundle = json.loads(Path(signature).read_text(encoding="utf-8"))
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"], validate=True))
    if statement["predicateType"] != _PREDICATE:
        raise ValueError(f"it states {statement['predicateType']!r}, and not {_PREDICATE}")
    return cast("dict[str, Any]", statement["predicate"])


def _hashing(ignored: list[str], way: Mapping[str, Any]) -> Any:  # noqa: ANN401 - the library's
    """Return a hashing configuration that keeps what it ``found``.

    ``way`` is the serialization that a signature states. No file is left out but the ``ignored``
    ones (the library alone would leave out git's too), and a link raises ValueError.
    """
    from model_signing import hashing

    class Keeping(hashing.Config):  # type: ignore[misc]  # without stubs it is Any
        found: Any = None

        def hash(self, *arguments: Any, **more: Any) -> Any:  # noqa: ANN401
            self.found = super().hash(*arguments, **more)
            return self.found

    config = Keeping().set_ignored_paths(paths=ignored, ignore_git_paths=False)
    kind = way.get("hash_type", "sha256")
    if way.get("method") == "shards":
        size = int(way["shard_size"])  # the format's numbers are floats
        return config.use_shard_serialization(hashing_algorithm=kind, shard_size=size)
    return config.use_file_serialization(hashing_algorithm=kind)


def _digests(hashing: Any) -> dict[str, str]:  # noqa: ANN401 - the library's
    """Return the hexadecimal digest of each file (or shard, ``path:begin:end``) that was hashed."""
    found = hashing.found.resource_descriptors()
    return {_plain(item.identifier): item.digest.digest_hex for item in found}


def _what(signed: str, found: str | None) -> str:
    return "missing" if found is None else f"its digest is {found}, the signature says {signed}"


def _private_key(path: str, password: bytes | None) -> Any:  # noqa: ANN401 - the library's
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(Path(path).read_bytes(), password)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        wrong = "the password is wrong, or the key is damaged"
        reason = "holds no private key in PEM" if password is None else wrong
        raise _RefusedError(reason, path) from error
    return _supported(key, path)


def _public_key(path: str) -> Any:  # noqa: ANN401 - the library's
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(Path(path).read_bytes())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _RefusedError("holds no public key in PEM", path) from error
    return _supported(key, path)


def _supported(key: Any, path: str) -> Any:  # noqa: ANN401 - the library's
    """Return the key. Raises _RefusedError for a kind that model signatures are not made with."""
    curve = getattr(key, "curve", None)
    if curve is None:
        kind = type(key).__name__.removesuffix("PublicKey").removesuffix("PrivateKey")
        raise _RefusedError(f"a key of the kind {kind}; {_NEEDED}", path)
    if curve.name not in _CURVES:
        raise _RefusedError(f"an EC key of the curve {curve.name}; {_NEEDED}", path)
    return key


def _fingerprint(public_key: Any) -> str:  # noqa: ANN401 - the library's
    """Return the sha256 of the key's PEM, as the library puts it into a signature's ``hint``."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    data = public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(data).hexdigest()


def _plain(text: str) -> str:
    """Return a stranger's text as a frame can hold it: without lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode()


def _told(error: Exception) -> str:
    first = str(error).strip().splitlines()[:1]
    return _plain(f"{type(error).__name__} {first[0] if first else ''}".strip())


if __name__ == "__main__":
    raise SystemExit(answer_one(handle))
