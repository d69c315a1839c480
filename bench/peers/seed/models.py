"""The seed's model, a session with all of its events in one value, and the usual other one, a row for each event."""

from django.db import models


class Session(models.Model):
    """A session: its events as a JSON list, newest first."""

    session_id = models.CharField(max_length=255, primary_key=True)
    events = models.TextField(default="[]")


class Event(models.Model):
    """One event as a row."""

    session_id = models.CharField(max_length=255, db_index=True)
    category = models.CharField(max_length=255, db_index=True)
    name = models.CharField(max_length=255)
    data = models.JSONField()
    timestamp = models.DateTimeField(db_index=True)
