"""Every reason an error can carry: one line each, with its cause and its remedy. `docs/errors.md` is made from it."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self


class Reason(str, Enum):
    """A stable identifier of what went wrong, for programs; errors carry its value.

    Attributes:
        cause: what happened, in a sentence.
        remedy: what to do about it, in a sentence.
    """

    cause: str
    remedy: str

    def __new__(cls, value: str, cause: str, remedy: str) -> Self:
        """Keep the cause and the remedy beside the value."""
        reason = str.__new__(cls, value)
        reason._value_, reason.cause, reason.remedy = value, cause, remedy
        return reason

    # The request
    MISSING_FIELD = "MISSING_FIELD", "A field that the call needs is not set.", "Set the field that the message names."
    UNEXPECTED_FIELD = "UNEXPECTED_FIELD", "A field is set that the model or the call does not take.", "Leave it out; `GetModel` says what the model takes."
    UNKNOWN_FIELD = "UNKNOWN_FIELD", "A mapping has a key that is not known.", "Use one of the keys that the message lists."
    CONFLICTING_FIELDS = "CONFLICTING_FIELDS", "Two fields are set of which only one may be.", "Set one of them."
    INVALID_TYPE = "INVALID_TYPE", "A value is of another type, or no rectangular array of numbers.", "Pass the type that the message names."
    INVALID_DTYPE = "INVALID_DTYPE", "A tensor has a dtype that the field or the wire does not take.", "Convert it to one of the dtypes that the message lists."
    INVALID_SHAPE = "INVALID_SHAPE", "A tensor's shape is not the one that the model publishes, or two tensors do not match.", "Reshape it as the message says."
    INVALID_VALUE = "INVALID_VALUE", "A value is out of its range.", "Choose one in the range that the message names."
    NON_FINITE = "NON_FINITE", "A tensor holds NaN or infinite values.", "Look for a division by zero or an overflow before the call."
    NOT_JSON = "NOT_JSON", "A value of `extra_info` cannot be JSON.", "Pass numbers, strings, booleans, lists and objects with string keys."
    NESTED_TOO_DEEP = "NESTED_TOO_DEEP", "A JSON value is nested deeper than protobuf reads.", "Flatten it to at most 30 levels."
    UNKNOWN_OBJECTIVE = "UNKNOWN_OBJECTIVE", "The objective is not known.", "Use l2, l1 or cosine."
    INVALID_PLANNER = "INVALID_PLANNER", "The planner's method or one of its options does not exist or does not fit.", "Correct the option that the message names."
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED", "The request asks for more than the server's published limits.", "Send less at a time; `GetModel` publishes the limits."
    MALFORMED_MESSAGE = "MALFORMED_MESSAGE", "The bytes are not the method's protobuf message.", "Regenerate the stubs from this version of the proto."
    DATA_LENGTH_MISMATCH = "DATA_LENGTH_MISMATCH", "A tensor's data has another length than its shape and dtype need.", "Send row-major, little-endian data of exactly that length."
    MESSAGE_TOO_LARGE = "MESSAGE_TOO_LARGE", "A message is larger than the server, or a proxy before it, accepts.", "Send less, or raise the limit: the server's `--max-message-mib`, nginx's `client_max_body_size`."
    # Credentials
    NO_TOKEN = "NO_TOKEN", "The server needs a token and the call has none.", "Pass `token=` to the client, `--token` to a command, or set `WORLDFORGE_JEPA_TOKEN`."
    INVALID_TOKEN = "INVALID_TOKEN", "The call's token is not in the server's token file.", "Pass a token of that file; ask the server's operator for one."
    MODEL_NOT_ALLOWED = "MODEL_NOT_ALLOWED", "The call's token is not for this model.", "Use a model that `ListModels` returns for this token, or have the token file list it."
    TLS_FAILED = "TLS_FAILED", "Client and server could not agree on TLS: one does not speak it, or does not accept the other's certificate.", "Check `cacert`, `cert` and `key` of the client, the name in the target, and the certificates' dates."
    METADATA_TOO_LARGE = "METADATA_TOO_LARGE", "The metadata of a call takes more than the server accepts, 16 KiB.", "Send less of it."
    # Models and contexts
    DTYPE_UNSUPPORTED = "DTYPE_UNSUPPORTED", "The model's device does not compute in a dtype that the call needs.", "Do what the message says, or use a server on another device."
    MODEL_NOT_FOUND = "MODEL_NOT_FOUND", "No model of that name is served.", "Use a name that `ListModels` returns."
    MODEL_LOADING = "MODEL_LOADING", "The model is still loading.", "Retry after the delay that the error carries."
    MODEL_NOT_LOADED = "MODEL_NOT_LOADED", "The model could not be loaded.", "Mend what the message says and restart the server."
    CONTEXT_NOT_FOUND = "CONTEXT_NOT_FOUND", "The context is unknown, expired or evicted.", "Create it again."
    CONTEXT_OF_OTHER_MODEL = "CONTEXT_OF_OTHER_MODEL", "The context was created for another model than the request names.", "Leave the model out, or create a context for it."
    NO_SCENE = "NO_SCENE", "A stream was asked to score before it was given a scene.", "Send observation and goal with the first message."
    NO_LATENTS = "NO_LATENTS", "The model has a scoring method of its own and gives no latents.", "Use `Score`; `Encode` and `Unroll` need a model with latents."
    NO_ACTION_NORMALIZATION = "NO_ACTION_NORMALIZATION", "Raw actions were sent to a model without action statistics.", "Send normalized actions."
    NO_ACTION_DIM = "NO_ACTION_DIM", "The model does not publish how many entries an action has.", "Score candidates of your own; planning and synthetic inputs need the number."
    UNKNOWN_ENVIRONMENT = "UNKNOWN_ENVIRONMENT", "The model's environment has no action family here.", "Map candidates to actions yourself."
    OTHER_ACTIONS = "OTHER_ACTIONS", "The model's actions have another size than its action family.", "Check the model's environment and action size."
    OTHER_WEIGHTS = "OTHER_WEIGHTS", "Two models of one name have different weights.", "Load the weights that the server has."
    # The model's answer
    MODEL_FAILED = "MODEL_FAILED", "The model's own code raised an error.", "Read the message and the server's log."
    INVALID_LATENTS = "INVALID_LATENTS", "The model returned latents of another shape, or without a part that the score needs.", "Mend the model's `encode` or `unroll`."
    INVALID_RESPONSE = "INVALID_RESPONSE", "The model's scoring method returned something other than the agreed mapping.", "Return a mapping with `scores`, and what else is set as documented."
    INVALID_SCORES = "INVALID_SCORES", "The model's scores are missing, not numbers, or not one for each candidate.", "Return one number for each candidate."
    NON_FINITE_SCORES = "NON_FINITE_SCORES", "The model returned NaN or infinite scores.", "Check the weights and the range of the inputs."
    # The server
    QUEUE_FULL = "QUEUE_FULL", "The server has accepted as much work as it queues.", "Retry after the delay that the error carries."
    MESSAGES_FULL = "MESSAGES_FULL", "The messages that the server holds leave no room for this one.", "Retry after the delay that the error carries, or start the server with a larger `--message-budget`."
    STREAM_EVICTED = "STREAM_EVICTED", "The server ended an idle stream, whose scene took room that other messages need.", "Open the stream again and send the scene; sessions of the Python client do so by themselves."
    OUT_OF_MEMORY = "OUT_OF_MEMORY", "The device or the host has no memory left for the call.", "Send fewer candidates at a time, or lower `--memory-budget`."
    NO_REPLICA = "NO_REPLICA", "The proxy in front of the servers has none to ask: they start, or all have ended.", "Try again after the delay; look at the servers if it lasts."
    DRAINING = "DRAINING", "The server is shutting down.", "Send the request to another server, or retry when it is back."
    SERVER_NOT_INSTALLED = "SERVER_NOT_INSTALLED", "The server package is not installed in this environment.", "`pip install '.[server]'` in a checkout of worldforge-jepa."
    SERVER_DID_NOT_START = "SERVER_DID_NOT_START", "A server that was started here ended, or did not become ready in time.", "Read its log."
    # The client
    PACKAGE_MISSING = "PACKAGE_MISSING", "A package that this part of the client needs is not installed.", "Install the extra that the message names."
    SESSION_CLOSED = "SESSION_CLOSED", "The session was closed.", "Open a new one."
    CLIENT_CLOSED = "CLIENT_CLOSED", "The client was closed.", "Make a new one."
    CLIENT_FORKED = "CLIENT_FORKED", "The client was made in another process, of which this one is a fork.", "Make a client in each process."
    OTHER_EVENT_LOOP = "OTHER_EVENT_LOOP", "The asynchronous client is used in another event loop than before.", "Make a client in each event loop."
    # Shared memory
    SHARED_MEMORY_OFF = "SHARED_MEMORY_OFF", "A tensor is in shared memory, which the server does not read.", "Start the server with `--shared-memory`, or send the tensor as data."
    SHARED_MEMORY_UNSUPPORTED = "SHARED_MEMORY_UNSUPPORTED", "Shared memory needs Linux.", "Leave `shared_memory` out."
    SEGMENT_NOT_FOUND = "SEGMENT_NOT_FOUND", "The server finds no such segment of its own user.", "Run client and server on one host, as one user."
    SEGMENT_TOO_SHORT = "SEGMENT_TOO_SHORT", "A segment is shorter than the tensor that it should hold.", "Leave segments to the client that made them."
    # gRPC itself
    UNAVAILABLE = "UNAVAILABLE", "No server answers at the target, or the connection broke.", "Check that the server runs and that the target is right; retry."
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED", "The deadline passed before the answer came.", "Allow more time or send less."
    UNAUTHENTICATED = "UNAUTHENTICATED", "A proxy before the server asks for credentials.", "Pass what the proxy asks for as `token=` or `metadata=`."
    PERMISSION_DENIED = "PERMISSION_DENIED", "A proxy before the server refuses the call.", "Check the credentials and the proxy's rules."
    CANCELLED = "CANCELLED", "The call was cancelled.", "Nothing, where you cancelled it."
    UNIMPLEMENTED = "UNIMPLEMENTED", "The server does not know the method.", "Use a server of this version, and check that the target is one."
    INTERNAL = "INTERNAL", "The server failed in a way it did not foresee.", "Look the incident up in the server's log."
    UNKNOWN = "UNKNOWN", "The call failed with a status that this client does not know.", "Read the message."
