"""Labelled cases in the layouts of others: written from a store, checked, and taken into one."""
