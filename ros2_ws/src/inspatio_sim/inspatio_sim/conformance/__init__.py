"""
Whether a simulator does what simulation_interfaces 2.1 says, as far as it claims to.

Knows the standard alone, nothing of this simulator: it can be pointed at any other.
"""
