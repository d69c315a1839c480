"""What schemathesis needs to know of this API beyond its document: see schemathesis.toml."""

import os

import schemathesis
from schemathesis import GenerationMode

# The id of the token that the requests are made with: without it there would be nothing left to test.
KEPT_TOKEN = os.environ["KEPT_TOKEN"]


@schemathesis.hook
def before_call(context, case, kwargs):
    """Leaves the own token alone, and sends no well-formed nonsense.

    A cursor that no page before gave is refused, and so are offsets of partitions that are not there: this server has
    one.
    """
    if (case.path_parameters or {}).get("id") == KEPT_TOKEN:
        case.path_parameters["id"] = "tok_000000000000"
    meta = case.meta
    if meta is not None and meta.generation.mode == GenerationMode.POSITIVE and case.query:
        case.query.pop("cursor", None)
        at_least = case.query.get("at_least")
        if isinstance(at_least, str):
            case.query["at_least"] = at_least.split(",")[0]


@schemathesis.check
def only_waiting_for_an_offset_is_unavailable(ctx, response, case):
    """503 is for an offset that has not been reached, and says when to come back."""
    if response.status_code == 503:
        assert response.json()["code"] == "not_caught_up", response.text
        assert "retry-after" in response.headers
