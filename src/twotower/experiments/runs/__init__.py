"""Run folders, `result.json`, fingerprints and provenance of runs."""
