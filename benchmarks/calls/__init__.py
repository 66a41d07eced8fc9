"""What a call costs: the wire, shared memory, many clients, proxies, observation."""
