"""The parent process of a host: its Celery app, children, devices and name.

Its modules are imported one by one: the health check must not load what children train with.
"""
