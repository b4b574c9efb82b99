"""Pictures and pages of runs and findings."""
