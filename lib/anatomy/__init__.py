"""What is labelled: schemas, vertebral levels, Hounsfield ranges and published cut-offs."""
