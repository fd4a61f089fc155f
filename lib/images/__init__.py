"""A CT in memory, and how it is read and written."""

from lib.images.ct import CTImage
from lib.images.facts import PatientFacts, parse_facts
from lib.images.files import read_ct, write_label

__all__ = ["CTImage", "PatientFacts", "parse_facts", "read_ct", "write_label"]
