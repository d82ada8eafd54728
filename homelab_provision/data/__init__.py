"""The hosts' data as the controller sees it: backups and proofs on the NAS, and the roles' programs."""
