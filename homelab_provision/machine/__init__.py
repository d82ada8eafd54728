"""Machines: what one says of itself, which it is, which disk is meant, and which spare can play a host."""
