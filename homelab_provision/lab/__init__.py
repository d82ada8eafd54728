"""Virtual machines on a private network: real firmware, real boot, power that can be cut."""
