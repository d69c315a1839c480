"""What schemathesis needs to know of this API beyond its document: see schemathesis.toml."""

import calendar
import json
import os
import re

import schemathesis
from schemathesis import GenerationMode

# The id of the token that the requests are made with: without it there would be nothing left to test.
KEPT_TOKEN = os.environ["KEPT_TOKEN"]
# Parameters and fields that hold a time.
TIMES = {"from", "to", "since", "until", "start", "end", "expires_at"}
# Fields that hold a query line, and those whose texts have rules that the document can only tell in words.
LINES = {"query", "start", "end", "return"}
WELL_FORMED = {"field": "data.plan", "measure": "p50(data.amount)", "step": "category", "window": "30m", "time_zone": "Europe/Berlin"}
# Texts that mean the same in JSON and in a query line.
PLAIN = re.compile(r"^[^\\\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,1000}$")
DATE = re.compile(r"^([12]\d{3})-(0[1-9]|1[0-2])-(\d{2})")


def with_possible_dates(fields):
    """The same fields, with no day after a month's last: a pattern cannot say how long a month is."""

    def repair(date):
        year, month, day = map(int, date.groups())
        return f"{year:04}-{month:02}-{min(day, calendar.monthrange(year, month)[1]):02}"

    def repaired(name, value):
        return DATE.sub(repair, value) if name in TIMES and isinstance(value, str) else value

    return {name: repaired(name, value) for name, value in fields.items()}


def line(text):
    """A query line with this text in it."""
    return "name:" + json.dumps(text, ensure_ascii=False) if PLAIN.match(text) else "name:view"


def asked_well(question):
    """The same question, with what no schema can say: its query lines and names are well-formed and fit together."""
    question = dict(question)
    for name, value in question.items():
        if name in LINES and isinstance(value, str):
            question[name] = line(value)
        elif name in WELL_FORMED and value is not None:
            question[name] = WELL_FORMED[name]
    if "steps" in question:
        question["steps"] = [line(step) for step in question["steps"]]
    if isinstance(question.get("breakdown"), list):
        question["breakdown"] = ["data.plan", "category"][: len(question["breakdown"])]
    elif isinstance(question.get("breakdown"), str):
        question["breakdown"] = "data.plan"
    if question.get("start") is not None:
        question.pop("end", None)
    if None in (question.get("cohort"), question.get("period")):
        question.pop("cohort", None)
        question.pop("period", None)
    else:
        question.update({"cohort": 0, "period": 0})
    return question


@schemathesis.hook
def before_call(context, case, kwargs):
    """Leaves the own token alone, and sends no well-formed nonsense.

    A cursor that no page before gave is refused, and so are an answer that was never given, the 30th of February and
    offsets of partitions that are not there: this server has one.
    """
    if (case.path_parameters or {}).get("id") == KEPT_TOKEN:
        case.path_parameters["id"] = "tok_000000000000"
    meta = case.meta
    if meta is None or meta.generation.mode != GenerationMode.POSITIVE:
        return
    if case.query:
        case.query.pop("cursor", None)
        case.query.pop("at", None)
        if case.path == "/v1/diff":
            # What an empty service has answered; others were never given.
            case.query.pop("to", None)
            case.query["from"] = "0:0"
        case.query.update(with_possible_dates(case.query))
        at_least = case.query.get("at_least")
        if isinstance(at_least, str):
            case.query["at_least"] = at_least.split(",")[0]
        if isinstance(case.query.get("query"), str):
            case.query["query"] = line(case.query["query"])
        if "field" in case.query:
            case.query["field"] = WELL_FORMED["field"]
    if isinstance(case.body, dict):
        case.body.update(with_possible_dates(case.body))
        if isinstance(case.body.get("at_least"), str):
            case.body["at_least"] = case.body["at_least"].split(",")[0]
        case.body.pop("at", None)
        if case.path.startswith("/v1/query/"):
            case.body = asked_well(case.body)
            if case.path != "/v1/query/values":
                # A range that every interval divides into a bearable number.
                case.body.update({"from": "2026-01-01", "to": "2026-01-03"})
        if case.path == "/v1/erasures":
            case.body.pop("until", None)
            # Somebody has to say what is to be erased.
            case.body["session_id"] = case.body.get("session_id") or "s"
            if isinstance(case.body.get("query"), str):
                case.body["query"] = line(case.body["query"])
        if case.path == "/v1/sql":
            case.body["sql"] = "SELECT name, data FROM events LIMIT 3"


@schemathesis.check
def only_waiting_for_an_offset_is_unavailable(ctx, response, case):
    """503 is for an offset that has not been reached, and says when to come back."""
    if response.status_code == 503:
        assert response.json()["code"] == "not_caught_up", response.text
        assert "retry-after" in response.headers
