from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RecordedCall(_message.Message):
    __slots__ = ("method", "request", "responses", "code", "reason", "stream", "begin_time", "duration_us")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    RESPONSES_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    BEGIN_TIME_FIELD_NUMBER: _ClassVar[int]
    DURATION_US_FIELD_NUMBER: _ClassVar[int]
    method: str
    request: bytes
    responses: _containers.RepeatedScalarFieldContainer[bytes]
    code: int
    reason: str
    stream: int
    begin_time: _timestamp_pb2.Timestamp
    duration_us: int
    def __init__(self, method: _Optional[str] = ..., request: _Optional[bytes] = ..., responses: _Optional[_Iterable[bytes]] = ..., code: _Optional[int] = ..., reason: _Optional[str] = ..., stream: _Optional[int] = ..., begin_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., duration_us: _Optional[int] = ...) -> None: ...
