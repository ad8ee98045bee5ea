"""Sections that measure the service: imports and starts, a job's way, submissions, queries, the mirror."""
