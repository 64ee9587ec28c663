"""Traces: what a program asked of its allocator, recorded, kept in files, and replayed."""
