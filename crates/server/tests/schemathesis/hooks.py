"""What schemathesis needs to know of this API beyond its document: see schemathesis.toml."""

import calendar
import os
import re

import schemathesis
from schemathesis import GenerationMode

# The id of the token that the requests are made with: without it there would be nothing left to test.
KEPT_TOKEN = os.environ["KEPT_TOKEN"]
# Parameters and fields that hold a time.
TIMES = {"from", "to", "start", "end", "expires_at"}
DATE = re.compile(r"^([12]\d{3})-(0[1-9]|1[0-2])-(\d{2})")


def with_possible_dates(fields):
    """The same fields, with no day after a month's last: a pattern cannot say how long a month is."""

    def repair(date):
        year, month, day = map(int, date.groups())
        return f"{year:04}-{month:02}-{min(day, calendar.monthrange(year, month)[1]):02}"

    def repaired(name, value):
        return DATE.sub(repair, value) if name in TIMES and isinstance(value, str) else value

    return {name: repaired(name, value) for name, value in fields.items()}


@schemathesis.hook
def before_call(context, case, kwargs):
    """Leaves the own token alone, and sends no well-formed nonsense.

    A cursor that no page before gave is refused, and so are the 30th of February and offsets of partitions that are not
    there: this server has one.
    """
    if (case.path_parameters or {}).get("id") == KEPT_TOKEN:
        case.path_parameters["id"] = "tok_000000000000"
    meta = case.meta
    if meta is None or meta.generation.mode != GenerationMode.POSITIVE:
        return
    if case.query:
        case.query.pop("cursor", None)
        case.query.update(with_possible_dates(case.query))
        at_least = case.query.get("at_least")
        if isinstance(at_least, str):
            case.query["at_least"] = at_least.split(",")[0]
    if isinstance(case.body, dict):
        case.body.update(with_possible_dates(case.body))
        if case.operation.path == "/v1/sql":
            case.body["sql"] = "SELECT name, data FROM events LIMIT 3"


@schemathesis.check
def only_waiting_for_an_offset_is_unavailable(ctx, response, case):
    """503 is for an offset that has not been reached, and says when to come back."""
    if response.status_code == 503:
        assert response.json()["code"] == "not_caught_up", response.text
        assert "retry-after" in response.headers
