from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class HelloRequest(_message.Message):
    __slots__ = ("protocol", "bundle_id", "plan_sha256", "part_sha256", "undefended")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_ID_FIELD_NUMBER: _ClassVar[int]
    PLAN_SHA256_FIELD_NUMBER: _ClassVar[int]
    PART_SHA256_FIELD_NUMBER: _ClassVar[int]
    UNDEFENDED_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    bundle_id: str
    plan_sha256: str
    part_sha256: str
    undefended: bool
    def __init__(self, protocol: _Optional[int] = ..., bundle_id: _Optional[str] = ..., plan_sha256: _Optional[str] = ..., part_sha256: _Optional[str] = ..., undefended: _Optional[bool] = ...) -> None: ...

class HelloReply(_message.Message):
    __slots__ = ("accepted", "refusal", "protocol", "torch_version", "max_batch", "max_message_bytes")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    TORCH_VERSION_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    accepted: bool
    refusal: str
    protocol: int
    torch_version: str
    max_batch: int
    max_message_bytes: int
    def __init__(self, accepted: _Optional[bool] = ..., refusal: _Optional[str] = ..., protocol: _Optional[int] = ..., torch_version: _Optional[str] = ..., max_batch: _Optional[int] = ..., max_message_bytes: _Optional[int] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusReply(_message.Message):
    __slots__ = ("stopping", "uptime_s", "streams", "running", "waiting", "answered")
    class AnsweredEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    STOPPING_FIELD_NUMBER: _ClassVar[int]
    UPTIME_S_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    stopping: bool
    uptime_s: float
    streams: int
    running: int
    waiting: int
    answered: _containers.ScalarMap[str, int]
    def __init__(self, stopping: _Optional[bool] = ..., uptime_s: _Optional[float] = ..., streams: _Optional[int] = ..., running: _Optional[int] = ..., waiting: _Optional[int] = ..., answered: _Optional[_Mapping[str, int]] = ...) -> None: ...

class EchoRequest(_message.Message):
    __slots__ = ("payload", "answer_bytes")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    ANSWER_BYTES_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    answer_bytes: int
    def __init__(self, payload: _Optional[bytes] = ..., answer_bytes: _Optional[int] = ...) -> None: ...

class EchoReply(_message.Message):
    __slots__ = ("payload",)
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    def __init__(self, payload: _Optional[bytes] = ...) -> None: ...
