"""The steps that a thread's program counter can name, and the places that its parts can return to."""

from __future__ import annotations

from enum import IntEnum


class Pc(IntEnum):
    """The steps. Each is a method of the same name in lower case."""

    DONE = 0
    # put_steps.py
    FREE_PICK = 1
    PUT_LOAD_TAG_EARLY = 2
    PUT_LOOK_EARLY = 3
    PUT_OR = 4
    PUT_PRECHECK = 5
    EVENT_LOAD_TAG = 6
    EVENT_LOOK = 7
    EVENT_HEAP_LOCK = 8
    EVENT_HEAP_TRY_LOCK = 9
    EVENT_HEAP_TAG = 10
    EVENT_HEAP_UNLOCK = 11
    EVENT_CLASS_LOCK = 12
    EVENT_CLASS_TAG = 13
    EVENT_CLASS_LOOK = 14
    EVENT_CLASS_UNLOCK = 15
    NOTIFY_EXCHANGE_FLAG = 16
    NOTIFY_LOAD_HEAD = 17
    NOTIFY_SWAP_HEAD = 18
    NOTIFY_CLEAR_FLAG = 19
    SPURIOUS_HINT = 20
    # span_steps.py
    OWN_LOOK = 21
    RELEASE_CLAIM = 22
    RELEASE_PUT_BACK = 23
    RELEASE_TAG = 24
    RELEASE_SLICES = 25
    ABANDON_LOOK_UNLOCKED = 26
    ABANDON_LOCK = 27
    ABANDON_TAG = 28
    ABANDON_LOOK = 29
    ABANDON_UNLOCK = 30
    FORM_LOCK = 31
    FORM_TAKE = 32
    FORM_SHAPE = 33
    FORM_TAG = 34
    FORM_WORD = 35
    FORM_UNLOCK = 36
    # heap_steps.py
    REFILL_LOCK = 37
    REFILL_LOAD = 38
    REFILL_CLAIM = 39
    REFILL_UNLOCK = 40
    ADOPT_LOCK = 41
    ADOPT_TAKE_UNLOCKED = 42
    ADOPT_TAG = 43
    ADOPT_UNLOCK = 44
    MAIL_TAKE = 45
    MAIL_CLEAR_FLAG_EARLY = 46
    MAIL_LOAD_LINK = 47
    MAIL_CLEAR_FLAG = 48
    MAIL_LOAD_TAG = 49
    MAIL_CLEAR_FLAG_LATE = 50
    SWEEP_LOCK = 51
    SWEEP_UNLOCK = 52
    EVICT_TRY_LOCK = 53
    EVICT_LOAD_STATE = 54
    EVICT_UNLOCK = 55
    EXIT_LOCK = 56
    EXIT_UNLOCK = 57
    REOPEN = 58
    # bitmap_protocol.py
    PURGE_LOAD_TAG = 59
    PURGE_LOAD_SHAPE = 60
    PURGE_CLAIM = 61
    PURGE_CHECK_SHAPE = 62
    PURGE_MADVISE = 63
    # machine.py
    AWAIT_OTHERS = 64
    CHECK_PROMPT = 65


class Then(IntEnum):
    """What a part of a thread goes on with when it is through: a method `then_...`, which takes no step."""

    NEXT_ACTION = 0
    # after a put, event or notify
    FREE_MORE = 1
    MAIL_NEXT = 2
    MAIL_CLEAR_FLAG_LATE = 3
    PURGE_PUT_BACK = 4
    # after an owner's look, or after abandon
    EVENT_SETTLED = 5
    REFILL_GO_ON = 6
    SWEEP_NEXT = 7
    EVICT_SETTLED = 8
    EXIT_NEXT = 9
    # after a formation
    REFILL_FORMED = 10
    # after a release
    OWN_RELEASED = 11
    EVENT_CLASS_RELEASED = 12
    ABANDON_RELEASED = 13
