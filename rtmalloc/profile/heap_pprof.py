"""Heap profiles in pprof's format (profile.proto of github.com/google/pprof), by the protobuf library."""

from __future__ import annotations

import gzip
from functools import cache
from typing import Any, Protocol

try:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
except ImportError as error:
    raise ImportError("pprof's format needs protobuf: pip install 'rtmalloc[profile]'") from error

from rtmalloc.profile.heap_sites import Frame, Site

SAMPLE_TYPES = (
    ("alloc_objects", "count", "alloc_objects"),
    ("alloc_space", "bytes", "alloc_bytes"),
    ("inuse_objects", "count", "live_objects"),
    ("inuse_space", "bytes", "live_bytes"),
    ("pinned_space", "bytes", "pinned_bytes"),
)
"""Name and unit in the file, and the number of a site that it is."""

_MESSAGES = {
    "Profile": (
        (1, "sample_type", "*ValueType"),
        (2, "sample", "*Sample"),
        (3, "mapping", "*Mapping"),
        (4, "location", "*Location"),
        (5, "function", "*Function"),
        (6, "string_table", "*string"),
        (9, "time_nanos", "int64"),
        (10, "duration_nanos", "int64"),
        (11, "period_type", "ValueType"),
        (12, "period", "int64"),
        (13, "comment", "*int64"),
        (14, "default_sample_type", "int64"),
    ),
    "ValueType": ((1, "type", "int64"), (2, "unit", "int64")),
    "Sample": ((1, "location_id", "*uint64"), (2, "value", "*int64"), (3, "label", "*Label")),
    "Label": ((1, "key", "int64"), (2, "str", "int64"), (3, "num", "int64"), (4, "num_unit", "int64")),
    "Mapping": ((1, "id", "uint64"), (5, "filename", "int64")),
    "Location": ((1, "id", "uint64"), (2, "mapping_id", "uint64"), (3, "address", "uint64"), (4, "line", "*Line")),
    "Line": ((1, "function_id", "uint64"), (2, "line", "int64")),
    "Function": (
        (1, "id", "uint64"),
        (2, "name", "int64"),
        (3, "system_name", "int64"),
        (4, "filename", "int64"),
        (5, "start_line", "int64"),
    ),
}
"""What is used of profile.proto: of each field its number, name and type; a star stands for `repeated`."""


@cache
def messages() -> dict[str, Any]:
    """The classes of the messages."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="profile.proto", package="perftools.profiles", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, field_name, kind in fields:
            one = message.field.add(number=number, name=field_name)
            one.label = field.LABEL_REPEATED if kind.startswith("*") else field.LABEL_OPTIONAL
            kind = kind.removeprefix("*")
            if kind in _MESSAGES:
                one.type, one.type_name = field.TYPE_MESSAGE, f".perftools.profiles.{kind}"
            else:
                one.type = getattr(field, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"perftools.profiles.{name}"))
        for name in _MESSAGES
    }


class Writable(Protocol):
    """What is written of a heap profile."""

    @property
    def sites(self) -> tuple[Site, ...]:
        """The call stacks."""

    @property
    def interval(self) -> int:
        """Bytes that a followed block stands for."""

    @property
    def native(self) -> str:
        """How native frames were found."""

    @property
    def time(self) -> float:
        """Seconds since 1970."""

    @property
    def seconds(self) -> float:
        """Since the recording began."""


class _Writer:
    """A profile under construction: strings, functions and locations once each."""

    def __init__(self) -> None:
        self.profile = messages()["Profile"]()
        self.strings: dict[str, int] = {}
        self.locations: dict[Frame, int] = {}
        self.text("")

    def text(self, string: str) -> int:
        """The number of a string."""
        if string not in self.strings:
            self.strings[string] = len(self.strings)
            self.profile.string_table.append(string)
        return self.strings[string]

    def location(self, frame: Frame) -> int:
        """The number of a frame."""
        if frame not in self.locations:
            number = len(self.locations) + 1
            self.locations[frame] = number
            name = self.text(frame.function)
            self.profile.function.add(id=number, name=name, system_name=name, filename=self.text(frame.file))
            self.profile.location.add(id=number).line.add(function_id=number, line=frame.line)
        return self.locations[frame]


def pprof_bytes(profile: Writable) -> bytes:
    """The profile as a gzipped ``Profile`` message."""
    writer = _Writer()
    message = writer.profile
    for name, unit, _ in SAMPLE_TYPES:
        message.sample_type.add(type=writer.text(name), unit=writer.text(unit))
    for site in profile.sites:
        sample = message.sample.add()
        sample.location_id.extend(writer.location(frame) for frame in site.frames)
        sample.value.extend(round(getattr(site, name)) for _, _, name in SAMPLE_TYPES)
        for thread in site.threads:
            sample.label.add(key=writer.text("thread"), str=writer.text(thread))
        if site.task:
            sample.label.add(key=writer.text("task"), str=writer.text(site.task))
    message.period_type.type, message.period_type.unit = writer.text("space"), writer.text("bytes")
    message.period = profile.interval
    message.default_sample_type = writer.text("inuse_space")
    message.time_nanos = round(profile.time * 1e9)
    message.duration_nanos = round(profile.seconds * 1e9)
    message.comment.append(writer.text(f"native frames: {profile.native}"))
    return gzip.compress(message.SerializeToString(), mtime=0)
