"""The parts of the study of active learning (scripts/study_active_learning.py)."""
