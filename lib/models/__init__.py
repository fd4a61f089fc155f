"""Trained models: versions with their manifests, the champion of each task, and the fold of every patient."""

from lib.models.folds import FoldBook
from lib.models.manifest import Manifest, TrainingLabel
from lib.models.registry import Registry, Version

__all__ = ["FoldBook", "Manifest", "Registry", "TrainingLabel", "Version"]
