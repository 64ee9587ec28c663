"""Numbers about the allocator, here and for other processes."""
