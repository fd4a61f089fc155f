"""MONAI Label infer tasks, made from the task table."""
