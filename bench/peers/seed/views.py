"""Collecting, in both designs. Each request is one transaction."""

import json

from django.db import transaction
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.views import APIView

from .models import Event, Session


class EventSerializer(serializers.Serializer):
    """The fields of an event."""

    session_id = serializers.CharField(max_length=255)
    category = serializers.CharField(max_length=255)
    name = serializers.CharField(max_length=255)
    data = serializers.JSONField()
    timestamp = serializers.DateTimeField()


class Collector(APIView):
    """The seed's: the event goes into its session's list, which is kept in descending order of time."""

    def post(self, request):
        event = EventSerializer(data=request.data)
        event.is_valid(raise_exception=True)
        answer = event.data
        with transaction.atomic():
            session, _ = Session.objects.select_for_update().get_or_create(session_id=answer["session_id"])
            events = json.loads(session.events)
            # Most events are among the newest: the place is found from that end.
            place = next((at for at, other in enumerate(events) if other["timestamp"] <= answer["timestamp"]), len(events))
            events.insert(place, answer)
            session.events = json.dumps(events)
            session.save(update_fields=["events"])
        return Response(answer, status=201)


class RowCollector(APIView):
    """The usual: a row for each event."""

    def post(self, request):
        event = EventSerializer(data=request.data)
        event.is_valid(raise_exception=True)
        with transaction.atomic():
            Event.objects.create(**event.validated_data)
        return Response(event.data, status=201)
