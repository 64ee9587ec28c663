"""rtmalloc."""
