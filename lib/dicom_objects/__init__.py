"""Labels as DICOM segmentations and measurements as DICOM structured reports."""

import warnings

# The patient's name is copied as the CT has it; anonymised CTs and images that are no DICOM have one without a caret.
warnings.filterwarnings("ignore", message=r"The string .* is unlikely to represent the intended person name")
