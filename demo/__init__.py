"""The loop on show: turns it for a job with a simulated annotator and reports what truly happened."""
