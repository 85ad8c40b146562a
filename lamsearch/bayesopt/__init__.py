"""Bayesian optimisation: which λ to evaluate next, on which images, and which λ to answer."""
