"""A CT in memory, and how it is read and written."""

from lib.images.ct import CTImage, PatientFacts, Sex
from lib.images.files import read_ct, write_label

__all__ = ["CTImage", "PatientFacts", "Sex", "read_ct", "write_label"]
