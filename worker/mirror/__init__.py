"""`python -m worker.mirror`: from SQL to MLflow."""
