"""The client for asyncio. `scripts/async_to_sync.py` makes `rpc.sync` of it, all but `connection`."""
