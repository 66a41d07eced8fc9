"""The specs of models, the types of calls, and the check of one against the other. Shared by client and server."""
