"""Arguments and results as bytes and back."""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
import socket
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqtasks.errors import PayloadError, PayloadTooLarge
from mqtasks.payload import CallSignature, PayloadCodec, is_async

if TYPE_CHECKING:
    from somewhere import Nowhere  # type: ignore[import-not-found]

CODEC = PayloadCodec()
PICKLING = PayloadCodec(allow_pickle=True)


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Box:
    width: int
    label: str = ""


class Point(msgspec.Struct):
    x: float
    inner: Any = None


class Model:
    """What mqtasks uses of a pydantic model."""

    def __init__(self, name: str) -> None:
        self.name = name

    def model_dump(self, mode):
        assert mode == "json"
        return {"name": self.name}

    @classmethod
    def model_validate(cls, value):
        if "name" not in value:
            raise ValueError("name is missing")
        return cls(**value)

    def __eq__(self, other):
        return isinstance(other, Model) and self.name == other.name

    __hash__ = None  # type: ignore[assignment]


def thumbnail(path: str, width: int = 200, *, tags: Sequence[str] = ()) -> str:
    return f"{path}{width}{tags}"


THUMBNAIL = CallSignature.for_function(thumbnail)


def round_trip(function, *args, **kwargs):
    signature = CallSignature.for_function(function)
    return CODEC.decode_call(CODEC.encode_call(args, kwargs, signature), signature)


# --- calls -------------------------------------------------------------------------------------


def test_call_without_arguments_is_an_empty_payload():
    assert CODEC.encode_call() == b""
    assert CODEC.encode_call((), {}, CallSignature.for_function(lambda: None)) == b""
    assert CODEC.decode_call(b"") == ((), {})
    assert CODEC.decode_call(b"", THUMBNAIL) == ((), {})


def test_call_is_json_behind_a_format_byte():
    data = CODEC.encode_call(("cat.jpg",), {"width": 320}, THUMBNAIL)
    assert data == b'j[["cat.jpg"],{"width":320}]'
    assert CODEC.decode_call(data) == (("cat.jpg",), {"width": 320})
    assert CODEC.decode_call(data, THUMBNAIL) == (("cat.jpg",), {"width": 320})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.floats(-1e9, 1e9),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(args=st.lists(json_values, max_size=4), kwargs=st.dictionaries(st.text(), json_values))
def test_json_arguments_come_back_as_they_were(args, kwargs):
    assert CODEC.decode_call(CODEC.encode_call(tuple(args), kwargs)) == (tuple(args), kwargs)


@given(value=json_values)
def test_json_results_come_back_as_they_were(value):
    assert CODEC.decode_result(CODEC.encode_result(value)) == value


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (datetime, datetime(2026, 3, 4, 5, 6, 7, 890, UTC)),
        (timedelta, timedelta(minutes=90)),
        (uuid.UUID, uuid.UUID(int=7)),
        (Decimal, Decimal("1.10")),
        (Colour, Colour.RED),
        (Box, Box(3, "x")),
        (list[Box], [Box(1), Box(2)]),
        (dict[str, Point], {"a": Point(1.5)}),
        (tuple[int, str], (1, "x")),
        (set[int], {1, 2}),
        (bytes, b"\x00\xff"),
        (Path, Path("/tmp/cat.jpg")),
        (PurePath | None, PurePath("a/b")),
        (Path | str, Path("a")),
        (Model, Model("x")),
        (Box | Point, Point(1.0, [1])),
        (int | None, None),
        (float, 3),
        (Iterable[int], [1, 2]),
        (object, {"a": [1]}),
        (Any, {"a": [1]}),
    ],
)
def test_annotation_brings_the_value_back(annotation, value):
    def by_position(first: Any): ...
    def by_name(*, first: Any): ...
    def many(*rest: Any, **named: Any): ...

    for function in (by_position, by_name, many):
        function.__annotations__ = dict.fromkeys(function.__annotations__, annotation)
    assert round_trip(by_position, value) == ((value,), {})
    assert type(round_trip(by_position, value)[0][0]) in (type(value), float)
    assert round_trip(by_name, first=value) == ((), {"first": value})
    assert round_trip(many, value, value, a=value) == ((value, value), {"a": value})


def test_without_annotation_values_arrive_as_json():
    def plain(a, b): ...

    got = round_trip(plain, (1, 2), b=Path("x"))
    assert got == (([1, 2],), {"b": "x"})


def test_default_none_makes_a_parameter_optional():
    def task(limit: int = None): ...  # type: ignore[assignment]  # noqa: RUF013 - that is the point

    assert round_trip(task, None) == ((None,), {})


def test_one_bytes_argument_is_stored_as_it_is():
    def plain(data): ...
    def typed(data: bytes): ...

    for signature in (None, *map(CallSignature.for_function, (plain, typed))):
        data = CODEC.encode_call((b"\x00\xff",), {}, signature)
        assert data == b"r\x00\xff"
        assert CODEC.decode_call(data, signature) == ((b"\x00\xff",), {})


@pytest.mark.parametrize("kwargs", [{}, {"b": b"y"}])
def test_bytes_that_would_arrive_as_text_are_refused(kwargs):
    def typed(a: str, b=None): ...

    with pytest.raises(PayloadError, match=r"argument 'a' is bytes: annotate the parameter"):
        CODEC.encode_call((b"x",), kwargs, CallSignature.for_function(typed))


def test_bytes_beside_other_arguments_need_their_annotation():
    def task(a: bytes, b: bytes | None = None, **rest: bytes): ...

    assert round_trip(task, b"x", b=b"y", z=b"z") == ((b"x",), {"b": b"y", "z": b"z"})


# --- what does not fit -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ((), {}, "thumbnail() needs argument 'path'"),
        (("a", 1, ()), {}, "thumbnail() takes 2 positional arguments, got 3"),
        (("a",), {"path": "b"}, "thumbnail() got argument 'path' twice"),
        (("a",), {"widht": 1}, "thumbnail() has no argument 'widht'; did you mean 'width'?"),
        (("a",), {"zzz": 1}, "has no argument 'zzz'; it takes: path, width, tags"),
        ((7,), {}, "thumbnail(): argument 'path' does not fit: Expected `str`, got `int`"),
        (("a",), {"width": "wide"}, "argument 'width' does not fit: Expected `int`, got `str`"),
        (("a",), {"tags": ["x", 1]}, "'tags' does not fit: Expected `str`, got `int` - at `$[1]`"),
    ],
)
def test_call_that_cannot_work_is_refused_at_enqueue(args, kwargs, said):
    with pytest.raises(PayloadError) as caught:
        CODEC.encode_call(args, kwargs, THUMBNAIL)
    assert said in str(caught.value)


def test_positional_only_parameter_cannot_be_named():
    def task(a, /, b): ...

    signature = CallSignature.for_function(task)
    signature.check((1, 2), {})
    with pytest.raises(PayloadError, match=r"has no argument 'a'"):
        signature.check((), {"a": 1, "b": 2})


def test_positional_only_name_may_be_a_keyword_of_the_rest():
    def task(a, /, **rest): ...

    signature = CallSignature.for_function(task)
    signature.check((1,), {"a": 2})
    with pytest.raises(PayloadError, match="needs argument 'a'"):
        signature.check((), {"a": 1})


def test_keyword_only_parameter_without_default_is_needed():
    def task(*args, key): ...

    with pytest.raises(PayloadError, match="needs argument 'key'"):
        CallSignature.for_function(task).check((1, 2, 3), {})


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ((object(),), {}, "argument path, of type object, cannot be stored as JSON"),
        (("a",), {"width": {"k": [1, {2j}]}}, "argument width['k'][1][0], of type complex"),
        (("a",), {"width": Box(1, label=object())}, "argument width.label, of type object"),  # type: ignore[arg-type]
        (("a",), {"width": Point(1.0, [{3, 4j}])}, "argument width.inner[0]["),
        (("a",), {"width": {(1, 2): 3}}, "argument width, of type dict"),
        (("\ud800",), {}, "argument path, of type str"),
        (("a",), {"width": math.nan}, "argument width is nan"),
        (("a",), {"width": [None, {"k": -math.inf}]}, "argument width[1]['k'] is -inf"),
        (("a",), {"width": Point(math.inf)}, "argument width['x'] is inf"),
        (("a",), {"width": Model}, "argument width, of type type"),
    ],
)
def test_argument_without_json_form_is_named_with_path_type_and_remedy(args, kwargs, said):
    with pytest.raises(PayloadError) as caught:
        CODEC.encode_call(args, kwargs, THUMBNAIL)
    assert said in str(caught.value)
    assert "allow_pickle=True" in str(caught.value)


def test_without_a_signature_arguments_are_named_by_position():
    with pytest.raises(PayloadError, match=r"argument 1, of type object"):
        CODEC.encode_call((1, object()))


def test_argument_name_that_is_no_text_is_refused():
    with pytest.raises(PayloadError, match="cannot be stored as JSON"):
        CODEC.encode_call((), {"\ud800": 1})


def test_argument_that_contains_itself_is_refused():
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(PayloadError, match="contains itself"):
        CODEC.encode_call((loop,))


def test_none_beside_finite_numbers_is_fine():
    assert CODEC.encode_call((None, 1.5, Point(2.0))) == b'j[[null,1.5,{"x":2.0,"inner":null}],{}]'


def test_oversize_payload_names_size_and_limit():
    codec = PayloadCodec(max_bytes=10)
    assert codec.encode_result("1234567") == b'j"1234567"'
    assert codec.encode_result(b"123456789") == b"r123456789"
    for encode in (
        lambda: codec.encode_result("12345678"),
        lambda: codec.encode_result(b"1234567890"),
        lambda: codec.encode_call((b"1234567890",)),
        lambda: codec.encode_call((123,)),
    ):
        with pytest.raises(PayloadTooLarge, match=r"is 11 bytes, the limit is 10") as caught:
            encode()
        assert (caught.value.size, caught.value.limit) == (11, 10)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"z[]", "starts with b'z'"),
        (b"\xff", "starts with b'\\xff'"),
        (b"j", "not JSON as mqtasks writes it"),
        (b"j{}", "not JSON as mqtasks writes it"),
        (b"j[[],{},1]", "not JSON as mqtasks writes it"),
        (b"j[[],[]]", "not JSON as mqtasks writes it"),
        (b"pxxx", "allow_pickle=True"),
    ],
)
def test_payload_that_mqtasks_did_not_write_is_refused(data, said):
    for signature in (None, THUMBNAIL):
        with pytest.raises(PayloadError) as caught:
            CODEC.decode_call(data, signature)
        assert said in str(caught.value)


# --- signatures --------------------------------------------------------------------------------


def test_unresolvable_annotation_leaves_its_argument_as_json(caplog):
    caplog.set_level("INFO", "mqtasks.payload")

    def task(a: Nowhere, when: datetime) -> Nowhere: ...

    moment = datetime(2026, 1, 1, tzinfo=UTC)
    assert round_trip(task, {"x": 1}, moment) == (({"x": 1}, moment), {})
    assert "annotation 'Nowhere' of 'a' cannot be resolved" in caplog.text
    assert CallSignature.for_function(task).return_type is Any


def test_annotation_nothing_can_be_converted_to_is_refused_at_definition():
    def task(a: list[Path | str]): ...

    with pytest.raises(PayloadError, match=r"task\(\): parameter 'a' is annotated list\[.*Path"):
        CallSignature.for_function(task)


def test_class_that_json_cannot_make_is_named():
    def task(a: socket.socket): ...

    with pytest.raises(PayloadError, match=r"argument 'a' does not fit: a socket cannot be made"):
        CODEC.encode_call(("x",), {}, CallSignature.for_function(task))


def test_union_says_why_no_member_fits():
    def task(a: Box | Point): ...

    with pytest.raises(PayloadError, match=r"missing required field `width`.*field `x`"):
        CODEC.encode_call(({},), {}, CallSignature.for_function(task))


def test_invalid_model_is_refused():
    def task(a: Model): ...

    with pytest.raises(PayloadError, match="name is missing"):
        CODEC.encode_call(({},), {}, CallSignature.for_function(task))


def test_path_must_be_text():
    def task(a: Path): ...

    with pytest.raises(PayloadError, match="Expected a path, got `int`"):
        CODEC.encode_call((7,), {}, CallSignature.for_function(task))


def test_signatures_of_methods_partials_and_objects():
    class Service:
        def run(self, count: int) -> int: ...  # type: ignore[empty-body]
        def __call__(self, when: datetime): ...

    method = CallSignature.for_function(Service().run)
    assert (method.name, method.return_type) == ("run", int)
    with pytest.raises(PayloadError, match="'count' does not fit"):
        CODEC.encode_call(("x",), {}, method)
    partial = CallSignature.for_function(functools.partial(thumbnail, "cat.jpg"))
    assert partial.name == "thumbnail"
    partial.check((3,), {})
    with pytest.raises(PayloadError, match="takes 1 positional"):
        partial.check((3, 4), {})
    called = CallSignature.for_function(Service())
    assert called.name == "Service"
    with pytest.raises(PayloadError, match="'when' does not fit"):
        CODEC.encode_call(("x",), {}, called)


def test_kind_is_seen_through_partials_and_objects():
    async def coroutine(a, b):
        return a

    class Callable:
        async def __call__(self, context):
            return context

    assert is_async(coroutine)
    assert is_async(functools.partial(functools.partial(coroutine, 1), 2))
    assert is_async(Callable())
    assert not is_async(len)
    assert not is_async(functools.partial(len))


# --- results -----------------------------------------------------------------------------------


def test_result_none_is_an_empty_payload():
    assert CODEC.encode_result(None) == b""
    assert CODEC.decode_result(b"") is None


def test_result_comes_back_as_the_type_asked_for():
    data = CODEC.encode_result(Box(3))
    assert CODEC.decode_result(data) == {"width": 3, "label": ""}
    assert CODEC.decode_result(data, Box) == Box(3)
    assert CODEC.decode_result(CODEC.encode_result(b"\x00"), bytes) == b"\x00"


def test_result_of_another_type_is_refused():
    with pytest.raises(PayloadError, match=r"the result is not of type int: Expected `int`"):
        CODEC.decode_result(b'j"x"', int)
    with pytest.raises(PayloadError, match=r"no result can be converted to list\['int'\]"):
        CODEC.decode_result(b"j[]", list["int"])
    with pytest.raises(PayloadError, match="starts with b'z'"):
        CODEC.decode_result(b"z")


def test_result_type_need_not_be_hashable():
    from typing import Annotated

    assert CODEC.decode_result(b"j1", Annotated[int, {}]) == 1


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": [object()]}, "result['a'][0], of type object"),
        ([1.0, math.nan], "result[1] is nan"),
    ],
)
def test_result_without_json_form_is_named(value, said):
    with pytest.raises(PayloadError) as caught:
        CODEC.encode_result(value)
    assert said in str(caught.value)


# --- pickle ------------------------------------------------------------------------------------


def test_pickle_is_used_only_for_what_json_cannot_express():
    assert PICKLING.encode_call((1,)).startswith(b"j")
    data = PICKLING.encode_call((1j,), {"b": {(1, 2): 3}}, CallSignature.for_function(pickled))
    assert data.startswith(b"p")
    assert PICKLING.decode_call(data) == ((1j,), {"b": {(1, 2): 3}})
    assert PICKLING.decode_result(PICKLING.encode_result(3j)) == 3j
    assert math.isnan(PICKLING.decode_result(PICKLING.encode_result(math.nan)))


def pickled(a: complex, b): ...


def test_pickle_is_refused_unless_asked_for():
    data = PICKLING.encode_result(3j)
    with pytest.raises(PayloadError, match="set allow_pickle=True, if everybody"):
        CODEC.decode_result(data)


def test_what_not_even_pickle_can_express_is_refused():
    with pytest.raises(PayloadError, match="neither JSON nor pickle"):
        PICKLING.encode_result(lambda: None)


def test_broken_pickle_is_refused():
    with pytest.raises(PayloadError, match="not readable"):
        PICKLING.decode_result(b"pxx")
