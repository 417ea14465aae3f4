"""Weights: where they come from, what they are, and whether they are real."""
