"""Starting programs on the preload library: rtmalloc and `rtmalloc run`."""
