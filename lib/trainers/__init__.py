"""Training on the labels of a store: a new version in the registry comes out of it."""
