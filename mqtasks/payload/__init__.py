"""Arguments and results as bytes: JSON, checked against the function's annotations."""

from mqtasks.payload.codec import DEFAULT_MAX_BYTES, PayloadCodec
from mqtasks.payload.signature import CallSignature, is_async

__all__ = ["DEFAULT_MAX_BYTES", "CallSignature", "PayloadCodec", "is_async"]
