"""MONAI Label strategies: which case comes next."""
