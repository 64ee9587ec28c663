"""The rules that the argument leans on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rules:
    """Each field is a part of the protocol. A mutation turns one off."""

    # a free (shelf_put)
    event_when_useful: bool = True
    event_when_whole: bool = True
    state_read_after_or: bool = True
    # its event (shelf_event)
    event_follows_tag: bool = True
    # hints
    hint_tries_again: bool = True
    hint_waits_when_full: bool = True
    leave_reads_hints: bool = True
    hints_read_until_none: bool = True
    hints_forwarded: bool = True
    # a look (shelf_settle), under the lock
    look_checks_tag: bool = True
    interior_is_left_alone: bool = True
    held_is_left_alone: bool = True
    whole_is_claimed: bool = True
    whole_is_looked_at_again: bool = True
    # refills (shelf_draw)
    draw_under_lock: bool = True
    retire_looks: bool = True
    retire_sets_state_first: bool = True
    # steals (slot_steal, shelf_take_over)
    steal_under_lock: bool = True
    steal_sets_held: bool = True
    take_over_under_lock: bool = True
    take_over_looks: bool = True
    # formation and release
    release_sets_none: bool = True
    formation_sets_held: bool = True
    formation_index_before_tag: bool = True
    formation_tag_before_bits: bool = True
    formation_objects_before_bits: bool = True
    # page return
    purge_claims: bool = True
    purge_checks_geometry: bool = True
    discard_before_put_back: bool = True
    put_back_has_event: bool = True
    put_back_finds_span: bool = True
