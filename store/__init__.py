"""The database: the only place that speaks SQL; and the wake-ups' sender."""
