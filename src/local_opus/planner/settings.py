"""OpenVINO's and the server's settings, as a profile has them."""

from __future__ import annotations

from pydantic import JsonValue

from local_opus.catalog.needs import Serving
from local_opus.profiles import Profile
from local_opus.values import Model


def properties_of(profile: Profile) -> dict[str, JsonValue]:
    """OpenVINO's names for a profile's settings (openvino/runtime/properties)."""
    named: dict[str, JsonValue] = {
        "PERFORMANCE_HINT": profile.openvino.performance_hint,
        "KV_CACHE_PRECISION": profile.openvino.kv_cache_precision,
        "INFERENCE_PRECISION_HINT": profile.openvino.inference_precision,
        "NUM_STREAMS": profile.openvino.num_streams,
    }
    return {name: value for name, value in named.items() if value is not None}


def serving_of(profile: Profile) -> Serving:
    """Return the requests and the context that a profile's server allows."""
    return Serving(
        requests=profile.server.max_concurrent,
        context=profile.server.context,
        cache_size_gb=profile.server.cache_size_gb,
        kv_precision=profile.openvino.kv_cache_precision,
    )


def context_length(profile: Profile, model: Model) -> int | None:
    """Return the tokens that the model's config states; None: the weights' manifest says them."""
    stated = (profile.server.context, model.context_length)
    return min((tokens for tokens in stated if tokens is not None), default=None)
