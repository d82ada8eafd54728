"""PostgreSQL as Debian sets it up, and as the role does: the same rows, the same questions, in one run."""
