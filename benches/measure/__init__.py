"""What `make bench` measures. Only the standard library; only loopback addresses."""
