"""Write a realigned anchor to disk: as it is, as one set of weights, or as a LoRA."""
