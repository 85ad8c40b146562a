"""Studies as optuna-dashboard shows them best; the database is only read."""
