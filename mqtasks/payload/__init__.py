"""Arguments and results as bytes: JSON or MessagePack, checked against annotations."""

from mqtasks.payload.codec import DEFAULT_MAX_BYTES, PayloadCodec
from mqtasks.payload.comparable import comparable_call
from mqtasks.payload.fernet import FernetTransform
from mqtasks.payload.formats import FormatName
from mqtasks.payload.signature import CallSignature, is_async
from mqtasks.payload.transform import PLAIN, Envelope, PayloadTransform

__all__ = [
    "DEFAULT_MAX_BYTES",
    "PLAIN",
    "CallSignature",
    "Envelope",
    "FernetTransform",
    "FormatName",
    "PayloadCodec",
    "PayloadTransform",
    "comparable_call",
    "is_async",
]
