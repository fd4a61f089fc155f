"""Cases, labels and their history."""

from lib.stores.case_store import CaseStore
from lib.stores.records import FINAL, UNINTERPRETED, Event, Revision

__all__ = ["FINAL", "UNINTERPRETED", "CaseStore", "Event", "Revision"]
