"""A site: a directory that describes one homelab, loaded and validated into frozen models."""
