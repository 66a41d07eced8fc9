"""The messages of open_inference.proto, in a descriptor pool of their own.

A process that also imports Triton's client would otherwise have two files that define the package `inference`.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

POOL = DescriptorPool()
for _file in FileDescriptorSet.FromString(files(__package__).joinpath("open_inference.binpb").read_bytes()).file:
    POOL.Add(_file)

SERVICE = POOL.FindServiceByName("inference.GRPCInferenceService")


def _message(name: str) -> Any:
    return GetMessageClass(POOL.FindMessageTypeByName(f"inference.{name}"))


ModelInferResponse = _message("ModelInferResponse")
ModelMetadataResponse = _message("ModelMetadataResponse")
ModelReadyResponse = _message("ModelReadyResponse")
ServerLiveResponse = _message("ServerLiveResponse")
ServerMetadataResponse = _message("ServerMetadataResponse")
ServerReadyResponse = _message("ServerReadyResponse")
