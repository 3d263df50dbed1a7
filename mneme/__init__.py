"""mneme: a server that syncs the memory of coding agents across a person's machines."""

__version__ = "0.1.0"
