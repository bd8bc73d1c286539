"""Entries that misbehave, each in one way: what a worker meets in the wild, run as real processes."""
