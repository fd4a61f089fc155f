"""The parts of ``scripts/analyse.py``."""
