"""Devices that could run inference: their chains, their published peaks, the best of them. Pure."""
