"""The servers of one machine: starts them, watches them, and stops exactly what it started."""
