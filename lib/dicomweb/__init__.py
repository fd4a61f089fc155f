"""What DICOMweb (DICOM PS3.18) says about requests and answers, without a server and without an archive."""
