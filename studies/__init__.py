"""The science on results: expansion, statistics, verdicts, claims, reports, figures."""
