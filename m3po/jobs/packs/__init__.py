"""Runs elsewhere: packed as a folder, and taken back with their lineage."""
