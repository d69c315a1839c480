"""Where the two designs answer."""

from django.urls import path

from .views import Collector, RowCollector

urlpatterns = [path("eye/collector", Collector.as_view()), path("rows/collector", RowCollector.as_view())]
