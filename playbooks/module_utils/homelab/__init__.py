"""The parts of the module `host_state`: each compares a list with the host, and changes what differs."""
