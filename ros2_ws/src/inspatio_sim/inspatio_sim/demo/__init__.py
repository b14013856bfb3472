"""The demo: a node, a driver and a recorder, each a process that knows the others by topic only."""
