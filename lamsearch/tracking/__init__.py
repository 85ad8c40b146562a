"""Experiment trackers that follow a search: TensorBoard, W&B, Trackio, MLflow and others."""
