"""What the programs of roles share: who they are, one run at a time, programs that end with them, files that a power
cut leaves whole; and what those need that keep data: the share, records and their signatures."""
