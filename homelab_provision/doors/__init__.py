"""The ways out of this program, one file each: programs, machines, Ansible, testinfra."""
