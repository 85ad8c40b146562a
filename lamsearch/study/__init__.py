"""The study database: trials, scores, leases, the manifest and the kept images."""
