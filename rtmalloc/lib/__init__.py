"""Where the build puts the preload library; see :func:`rtmalloc.library_path`."""
