"""How long tests wait for what another process or a socket must bring."""

PATIENCE_S = 300.0
"""Longer than a machine that has much else to do takes for anything here.

Where a wait ends because of it, the test has failed: nothing may pass by running into it.
"""
