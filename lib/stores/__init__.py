"""Cases, labels and their history."""
