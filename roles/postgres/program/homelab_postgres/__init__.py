"""The program `homelab-postgres`: backups with a fingerprint, and restores that are proven by it.

It runs as root, because it stops and starts the service; everything else is done as the account `postgres`.
Standard library only: it lies on the host as it is.
"""
