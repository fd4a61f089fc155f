"""An index of the DICOM files in the studies folder, and of the other images there as the series that they would be."""

from lib.archive.archive import Archive, is_uid, only_folder

__all__ = ["Archive", "is_uid", "only_folder"]
