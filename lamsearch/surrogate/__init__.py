"""The surrogate of J(λ): image noise, Gaussian process, and the model over both."""
