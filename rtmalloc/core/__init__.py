"""The layers of the allocator core: ``.pxd`` modules, compiled into ``rtmalloc._core``."""
