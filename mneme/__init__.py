"""mneme: the sync daemon that keeps the memory of coding agents in step across a person's machines."""

__version__ = "0.1.0"
