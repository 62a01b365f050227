"""Measurements: each beside its floor, in the same run on the same machine."""
