"""Reads pprof's gzipped profile.proto back, as a tool would."""

from __future__ import annotations

import gzip
from collections import Counter
from dataclasses import dataclass
from typing import Any

from rtmalloc.profile import heap_pprof


@dataclass(frozen=True)
class Read:
    """A profile with its numbers looked up."""

    types: list[str]
    samples: list[tuple[list[str], list[int], dict[str, str]]]
    """Functions (the innermost first), values, labels."""
    duration_nanos: int

    def sums(self, kind: str) -> Counter[str]:
        """The values of one kind, by every function on the stack; without what stands behind a dot in its name."""
        found: Counter[str] = Counter()
        for names, values, _ in self.samples:
            for name in {name.split(".")[0] for name in names}:
                found[name] += values[self.types.index(kind)]
        return found


def read_pprof(content: bytes) -> Read:
    message: Any = heap_pprof.messages()["Profile"]()
    message.ParseFromString(gzip.decompress(content))
    text = list(message.string_table)
    functions = {function.id: text[function.name] for function in message.function}
    places = {place.id: functions[place.line[0].function_id] for place in message.location}
    samples = [
        (
            [places[number] for number in sample.location_id],
            list(sample.value),
            {text[label.key]: text[label.str] for label in sample.label},
        )
        for sample in message.sample
    ]
    return Read([text[kind.type] for kind in message.sample_type], samples, message.duration_nanos)
