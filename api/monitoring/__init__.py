"""What a monitoring system reads: figures of the database, times of requests, the route that hands them out, and whether
the process lives and is ready."""

from api.monitoring import health
from api.monitoring.request_spans import RequestSpans
from api.monitoring.request_times import RequestTimes, make_histogram
from api.monitoring.route import Metrics, router

__all__ = ["Metrics", "RequestSpans", "RequestTimes", "health", "make_histogram", "router"]
