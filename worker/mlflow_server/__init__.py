"""`python -m worker.mlflow_server`: MLflow's server, behind Normlab's login."""
