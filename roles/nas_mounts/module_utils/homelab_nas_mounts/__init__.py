"""Parts of the module of the role nas_mounts."""
