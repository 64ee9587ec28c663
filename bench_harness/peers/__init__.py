"""The allocators: what is declared of them, which of them are here, their variants, and how they are got."""
