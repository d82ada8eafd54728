"""A WireGuard interface that is brought to what its configuration says, and kept there.

`config` what it has to be, `wireguard` and `host` how it is and how that is changed, `apply` the way from one to the
other, `watch` what is looked after beyond that, `memory` what is remembered between two looks, `report` who is told.
"""
