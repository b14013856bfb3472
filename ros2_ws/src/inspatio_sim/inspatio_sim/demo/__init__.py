"""The demo: a node, a driver and a recorder, three processes that know each other by topic."""
