"""The blocking client, made from `rpc.aio` by `scripts/async_to_sync.py`, all but `connection`."""
