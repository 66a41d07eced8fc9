"""The Open Inference Protocol, for the clients of Triton and KServe: its ModelInfer is Score."""
