"""Data of stacks: backed up by restic, restored in place, and proven by copies that are asked what they hold."""
