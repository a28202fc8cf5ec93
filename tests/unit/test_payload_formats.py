"""MessagePack beside JSON, transforms around either, and models of pydantic itself."""

from __future__ import annotations

import math
import zlib
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pydantic
import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from mqtasks.errors import ConfigError, InvalidArgument, PayloadError, PayloadTooLarge
from mqtasks.payload import CallSignature, Envelope, FernetTransform, PayloadCodec

JSON = PayloadCodec()
MSGPACK = PayloadCodec(format="msgpack")

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text()
    | st.binary()
    | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


class Order(pydantic.BaseModel):
    number: UUID
    total: Decimal
    due: datetime
    lines: list[str] = []


ORDER = Order(
    number=UUID(int=5), total=Decimal("9.90"), due=datetime(2026, 5, 6, tzinfo=UTC), lines=["a"]
)


class Compressed:
    name = "zlib"

    def encode(self, data: bytes) -> bytes:
        return zlib.compress(data)

    def decode(self, data: bytes) -> bytes:
        return zlib.decompress(data)


def test_s14_msgpack_is_written_where_it_is_asked_for():
    data = MSGPACK.encode_call((1,), {"a": b"\x00"})
    assert data[:1] == b"m"
    assert MSGPACK.decode_call(data) == ((1,), {"a": b"\x00"})


@given(args=st.lists(values, max_size=4), kwargs=st.dictionaries(st.text(), values))
def test_msgpack_arguments_come_back_as_they_were(args, kwargs):
    assert MSGPACK.decode_call(MSGPACK.encode_call(args, kwargs)) == (tuple(args), kwargs)


@given(value=values)
def test_msgpack_results_come_back_as_they_were(value):
    assert MSGPACK.decode_result(MSGPACK.encode_result(value)) == value


def test_msgpack_keeps_what_json_cannot_say():
    def function(first: bytes, second: float, *rest: Any): ...

    signature = CallSignature.for_function(function)
    args = (b"\xff", math.inf, b"\x00")
    assert MSGPACK.decode_call(MSGPACK.encode_call(args, {}, signature), signature) == (args, {})
    with pytest.raises(PayloadError, match="annotate the parameter with bytes"):
        JSON.encode_call(args, {}, signature)


def test_either_format_reads_the_other():
    for writer, reader in ((JSON, MSGPACK), (MSGPACK, JSON)):
        assert reader.decode_call(writer.encode_call(("x",), {"y": 1})) == (("x",), {"y": 1})
        assert reader.decode_result(writer.encode_result([1, "a"]), list[Any]) == [1, "a"]


@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=["json", "msgpack"])
def test_s14_a_pydantic_model_comes_back_by_its_annotation(codec):
    def function(order: Order) -> Order:
        return order

    signature = CallSignature.for_function(function)
    data = codec.encode_call((ORDER,), {}, signature)
    assert codec.decode_call(data, signature) == ((ORDER,), {})
    assert codec.decode_result(codec.encode_result(ORDER), Order) == ORDER
    with pytest.raises(PayloadError, match="argument 'order' does not fit"):
        codec.encode_call(({"number": "no"},), {}, signature)


def test_a_type_msgpack_cannot_express_is_named():
    with pytest.raises(PayloadError, match="type object, cannot be stored as MessagePack"):
        MSGPACK.encode_call(([object()],))
    with pytest.raises(PayloadError, match="not MessagePack as mqtasks writes it"):
        MSGPACK.decode_call(b"m\x93")


def test_unknown_format_is_refused():
    with pytest.raises(InvalidArgument, match="must be 'json' or 'msgpack'"):
        PayloadCodec(format="yaml")  # type: ignore[arg-type]


# --- transforms --------------------------------------------------------------------------------


def test_s14_encrypted_payloads_show_nothing_and_come_back():
    codec = PayloadCodec(envelope=Envelope([FernetTransform(Fernet.generate_key())]))
    data = codec.encode_call(("secret-word",), {"width": 1})
    assert data.startswith(b"x\x06fernet")
    assert b"secret-word" not in data
    assert codec.decode_call(data) == (("secret-word",), {"width": 1})
    assert codec.decode_result(codec.encode_result("secret-word"), str) == "secret-word"
    assert codec.encode_call() == b""


def test_s14_a_key_is_rotated_without_losing_what_waits():
    old, new = Fernet.generate_key(), Fernet.generate_key()
    waiting = PayloadCodec(envelope=Envelope([FernetTransform(old)])).encode_call((1,))
    rotated = PayloadCodec(envelope=Envelope([FernetTransform(new, old)]))
    assert rotated.decode_call(waiting) == ((1,), {})
    with pytest.raises(PayloadError, match=r"transform 'fernet' cannot read .*InvalidToken"):
        PayloadCodec(envelope=Envelope([FernetTransform(new)])).decode_call(waiting)


def test_a_payload_changed_since_is_refused():
    codec = PayloadCodec(envelope=Envelope([FernetTransform(Fernet.generate_key())]))
    data = bytearray(codec.encode_result(7))
    data[-5] ^= 1
    with pytest.raises(PayloadError, match="changed since"):
        codec.decode_result(bytes(data))


def test_the_first_transform_writes_and_all_of_them_read():
    fernet = FernetTransform(Fernet.generate_key())
    before = PayloadCodec(envelope=Envelope([Compressed()]))
    after = PayloadCodec(format="msgpack", envelope=Envelope([fernet, Compressed()]))
    data = before.encode_call(("a" * 10_000,))
    assert len(data) < 100
    assert after.decode_call(data) == (("a" * 10_000,), {})
    assert after.encode_call((1,)).startswith(b"x\x06fernet")
    assert after.decode_call(JSON.encode_call((1,))) == ((1,), {})


def test_a_missing_transform_is_named_with_the_remedy():
    data = PayloadCodec(envelope=Envelope([Compressed()])).encode_call((1,))
    with pytest.raises(PayloadError, match=r"through transform 'zlib'.*MQTasks\(transforms="):
        JSON.decode_call(data)


def test_the_limit_counts_what_is_stored():
    codec = PayloadCodec(100, envelope=Envelope([FernetTransform(Fernet.generate_key())]))
    with pytest.raises(PayloadTooLarge, match="the limit is 100"):
        codec.encode_call(("a" * 60,))


def test_a_transform_that_fails_writes_nothing():
    class Broken(Compressed):
        def encode(self, data: bytes) -> bytes:
            raise RuntimeError("no room")

    codec = PayloadCodec(envelope=Envelope([Broken()]))
    with pytest.raises(PayloadError, match="transform 'zlib' failed: RuntimeError: no room"):
        codec.encode_call((1,))


@pytest.mark.parametrize(
    ("transforms", "said"),
    [
        ([object()], "must have a name"),
        ([Compressed(), Compressed()], "names two transforms"),
        ([type("Odd", (Compressed,), {"name": "ü"})()], "ASCII"),
        ([type("Long", (Compressed,), {"name": "a" * 33})()], "1 to 32"),
    ],
)
def test_transforms_that_cannot_work_are_refused(transforms, said):
    with pytest.raises(InvalidArgument, match=said):
        Envelope(transforms)


def test_a_bad_key_is_refused_and_no_key_is_shown():
    with pytest.raises(ConfigError, match="32 bytes in URL-safe base64"):
        FernetTransform("too short")
    key = Fernet.generate_key()
    assert key.decode() not in repr(FernetTransform(key))


def test_arguments_are_canonical_before_they_are_transformed():
    codec = PayloadCodec(envelope=Envelope([FernetTransform(Fernet.generate_key())]))
    assert codec.encode_arguments((1,), {"a": 2}) == JSON.encode_call((1,), {"a": 2})
