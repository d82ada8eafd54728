"""A STAND-IN for pihole-FTL, written after its published API description."""
