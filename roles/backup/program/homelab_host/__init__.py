"""What every program of a role with data needs: the share, records and their signatures, one run at a time."""
