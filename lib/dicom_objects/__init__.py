"""Labels as DICOM segmentations and measurements as DICOM structured reports."""
