"""Pure data of models and calls, and the checks that a call fits a model. Shared by client and server."""
