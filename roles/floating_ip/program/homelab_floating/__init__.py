"""Whether this host may have the addresses that float between it and others, and what it does when they come and go."""
