"""Methods that need no trained model."""
