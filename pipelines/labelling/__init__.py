"""Label Studio as the place where people label: a job's project there, and boxes as its regions."""
