"""Measures a running Corella from outside, through its contracts: how well it finds, and how well it answers."""
