"""The program `homelab-postgres`: backups with facts, and restores that are proven by them.

It runs as root, because it stops and starts the service; everything else is done as the account `postgres`.
Standard library only: it lies on the host as it is.
"""
