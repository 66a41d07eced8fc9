"""World models: the contract and its adapters."""
