"""Does β/λ mean what it says? A family of anchors emulates itself (arXiv 2601.20198, section 5)."""
