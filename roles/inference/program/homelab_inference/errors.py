"""Parts that Ansible's module has, too, find this one beside them; there it is a link to the library's."""

from homelab_host.errors import Trouble

__all__ = ["Trouble"]
