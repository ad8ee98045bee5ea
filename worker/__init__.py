"""Celery: acquire a job, train it, record it; and two plain loops, sweep and mirror."""
