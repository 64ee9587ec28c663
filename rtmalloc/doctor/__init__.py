"""`rtmalloc doctor`: what would keep rtmalloc from working here."""
