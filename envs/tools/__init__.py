"""Environments of agents that call tools."""
