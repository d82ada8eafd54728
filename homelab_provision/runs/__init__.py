"""Runs: what was asked, what was decided, and what happened, recorded so that it can be resumed."""
