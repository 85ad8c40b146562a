"""λ → scores: images of an anchor through deradiff, or a function of the user's own."""
