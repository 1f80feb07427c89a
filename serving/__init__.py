"""The inference service: answers requests and follows the production pointer."""
