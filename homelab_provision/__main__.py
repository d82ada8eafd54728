"""`python -m homelab_provision` is the command `provision`."""

from homelab_provision.cli import main

main()
