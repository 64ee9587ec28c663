# Every struct of the core, bottom up: what its fields mean, which equations tie them, and which lock guards a field.
# A comment behind a struct's name gives its guard; a field may have its own. "atomic": any thread may change it at any time,
# by the steps of base/atomics.pxd. check_* check the equations where the library is built with RT_CHECK=1 (calls/check.pxd).
# Locks nest in this order, outermost first:
#     opening > purge > heaps > turn > shelf (a second is only tried) > profile > transfer > pages > tables > pressure
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from rtmalloc.core.base._numbers cimport HeapCounters
from rtmalloc.core.base._options cimport RT_OPTION_COUNT

cdef extern from "base/config.h" nogil:
    enum:
        RT_CLASSES_MOST        # room for classes in this build, class 0 ("none") included

cdef extern from "base/pressure.h" nogil:
    enum:
        RT_PRESSURE_SOURCES    # sources of pressure that are watched at a time, at most
    ctypedef struct rt_pressure_source:
        int fd
        uint32_t kind          # RT_PRESSURE_*; 0 = unused
        uint64_t device, inode, seen

cdef enum:
    CLASSES_MOST = 128         # classes that a tag can tell apart; the tables of heaps and slots have so many rows
    TRANSFER_LENGTHS = 6       # spans of 1, 2, 4, 8, 16, 32 slices
    TRANSFER_SPANS = 64        # most spans of one length in the transfer cache
    SHELF_HINTS = 4            # events that can be left for the holder of a shelf's lock
    HOME_CELLS = 256           # objects on their way home that a heap gathers
    CELL_BLOCKS = 15           # sizes of a bin's block: 2**0 .. 2**14 cells
    PROFILE_SMALL = 2049       # buckets: [n] counts requests of 16 * n - 15 to 16 * n bytes (0 bytes: [1])
    PROFILE_LARGE = 512        # buckets of large requests: eighths of a doubling, 64 bits


# ---- base

cdef struct Lock:
    uint32_t word              # LOCK_FREE, LOCK_HELD or LOCK_AWAITED (base/lock.pxd)

cdef struct Options:
    int64_t value[RT_OPTION_COUNT]   # by RT_OPTION_*; read by slow paths, so a change needs no stop

cdef struct RadixMap:
    # A map from page numbers to words: three levels of 4096 entries. atomic
    void* root


# ---- pages: slices and segments

cdef struct Segment:
    # 64 slices as bits. pages lock, but for `mapped` and `huge`.
    #     old & free <= dirty        muzzy <= free & dirty        purged <= free
    uint64_t free              # 1 = in no run
    uint64_t dirty             # 1 = may hold something else than zeros (the owner of a used slice may read its bit)
    uint64_t old               # 1 = was dirty (muzzy) already at the last decay (muzzy) step
    uint64_t muzzy             # 1 = given up with MADV_FREE
    uint64_t purged            # 1 = given back and not taken since: taking it was then a purge too early
    uint32_t level_free        # run_level(free), as the page heap's summaries have it
    uint32_t level_dirty       # run_level(free & dirty)
    uint32_t mapped            # (read relaxed without the lock) SEGMENT_*
    uint32_t huge              # 1 = it may hold huge pages (atomic: set when it is opened, cleared by the first purge)
    uint32_t marked            # 1 = the program has told the kernel something about memory in it (atomic)

# What is to be done with segments (SEGMENTS_*), or runs of slices (option segments=0); RT_OS_MAPPED, or why it cannot be.
ctypedef int (*segments_hook)(void* context, uint32_t first, uint32_t count, int how) noexcept nogil
ctypedef int (*runs_hook)(void* context, uint32_t slice, uint32_t count, bint open) noexcept nogil

cdef struct PageHeap:
    # Runs of slices. Its own lock.
    #     used_slices + free slices + slices of segments without memory = opened * 64        opened <= described <= limit
    #     dirty_slices = ones in free & dirty of all segments        peak_slices >= used_slices + dirty_slices
    Lock lock
    uint32_t opened            # segments [0, opened) have been in use (read relaxed without the lock)
    uint32_t described         # segments [0, described) have their table entries (read relaxed without the lock)
    uint32_t limit             # segments that the arena has
    uint32_t nothing           # opened segments that have been given up, ...
    uint32_t nothing_from      # ... none of them below this one
    char* base                 # address of slice 0
    segments_hook hook         # called without the lock; NULL when all memory is there already
    void* hook_context
    runs_hook run_hook         # NULL, or called without the lock for each run that is taken or given back
    Segment* segments          # [limit]
    uint64_t* summaries        # which segments have long runs (pages/summary.pxd)
    const int64_t* address_order  # the option: 0 looks for a run where the last one was taken or given; NULL as if 1
    uint32_t recent            # that segment
    uint64_t used_slices       # taken and not given back, those in the hands of the purger included (as the next:
    uint64_t dirty_slices      # free and dirty        ... stored under the lock, read relaxed without it)
    uint64_t peak_slices       # the most of used and dirty ones together, unless purge_for_peak has lowered it
    uint64_t unmapped, wanted_back  # times that an idle segment was given up; slices taken after they had been purged

cdef struct Rise:
    # What taking a run has done to the peak.
    uint64_t slices            # by how many it rose
    uint64_t used_slices, dirty_slices  # the page heap's counters afterwards

cdef struct HugePages:
    # Whether huge pages pay (pages/huge_pages.pxd). atomic; the numbers only steer.
    uint32_t pause, trust      # segments that the pause is long (0 = the last huge page was quick), that go untested (0 = slow)
    uint32_t left              # segments still to be opened before the next test

cdef struct Span:
    # An entry for each slice. The entry of a span's first slice is the span; the others only have `index`.
    #     bit i of the bitmap = 1   <=>   object i is free, and in no bin, batch or hand
    #     objects = ones in the bitmap + objects that are live, in a bin, in a batch, or claimed for a moment
    #     objects = slices * RT_SLICE_BYTES / size        words = (objects + 63) / 64
    # The first line is written while a thread has claimed all of the span, and by relaxed stores: it may be read at any
    # time, and is true for whatever holds an object or a claimed bit of the span.
    char* base                 # address of object 0
    uint64_t* bits             # the bitmap (atomic); its place never changes
    uint64_t reciprocal        # ceil(2**40 / size)
    uint32_t size              # bytes of an object; of a large block: 0
    uint32_t index             # slice number of the span's first slice
    uint32_t slices            # length of the run (also of a large block)
    uint16_t objects
    uint16_t words
    uint16_t fresh             # objects from here on were never handed out and are zero (shelf lock)
    uint8_t class_
    uint8_t state              # SPAN_* (written under the shelf lock, read by who has just freed into the span)
    uint8_t quiet              # purge passes since it was last drawn from (a hint, written without protection)
    uint8_t worth              # free objects in one word that make a FULL span worth a refill's visit
    uint64_t returned          # bit u = unit u was given back and none of it drawn since (atomic)
    uint64_t padding_a
    # ---- second line: shelf lock
    Span* child                # span queue: first child, next sibling, and parent or previous sibling
    Span* sibling
    Span* previous
    uint64_t rank              # place in the queue: the lowest comes first
    void* records              # of a slab of the profile: what is known of its objects (profile lock, as the next two)
    Span* slab_next            # slabs with free objects of one class
    Span* slab_previous
    uint64_t padding_b

cdef struct Arena:
    # The arena's range and its tables. Written while the allocator is opened, but for slice_count and huge_pages.
    # -- the line that every free reads
    char* base                 # address of slice 0, a multiple of a group of segments
    uint64_t slice_count       # slices whose tables are open, 0 before start-up (atomic, only rises)
    uint32_t* tags             # [slice_limit] whose each slice is, and what (pages/tag.pxd)
    uint32_t* flat             # alternatives/lookup.pxd: a map of all addresses, of which `tags` is a part,
    RadixMap radix             # ... and a radix tree over slice numbers of addresses
    # -- the rest
    uint64_t slice_limit       # slices that the range has
    Span* spans                # [slice_limit]
    uint64_t* bits             # [slice_limit * RT_SLICE_WORDS], a span's begin at its first slice
    size_t page_bytes          # of the kernel
    Lock tables_lock           # held while further table entries are mapped
    const Options* options     # NULL while the arena is opened
    HugePages huge_pages
    PageHeap pages


# ---- spans between the threads

cdef struct Run:
    # Objects that were claimed together: some of the 64 of one word.
    char* first                # address of the word's first object
    uint64_t mask
    uint32_t size              # bytes of an object

cdef struct TransferList:
    # Empty spans of one length. Its own lock.
    Lock lock
    uint32_t count             # (read relaxed without the lock)
    uint32_t low               # fewest spans since the last epoch: these were not needed
    uint32_t slice[TRANSFER_SPANS]   # first slices, a LIFO

cdef struct TransferCache:
    TransferList lists[TRANSFER_LENGTHS]
    uint64_t hits, misses      # takes served from here, and not (statistics, not exact)

cdef struct Shelf:
    # The spans of one class and one slot; one cache line. Its own lock, which is held for a refill and tried for all else.
    #     a span whose tag names this shelf is CURRENT (this one), PARTIAL (in the queue), FULL (in neither), or HELD
    #     by a thread that is forming or moving it
    Lock lock
    uint32_t word              # where the scan of `current` stands
    Span* current              # being refilled from, or NULL
    Span* partial              # queue of spans with free objects (spans/span_queue.pxd)
    uint32_t count             # spans in the queue (read relaxed without the lock, as a hint to thieves)
    uint32_t hints[SHELF_HINTS]  # 1 + slice of a span to look at, 0 = none (atomic)
    uint32_t stolen            # spans taken from other slots (statistics)
    uint8_t padding[12]

cdef struct Slot:
    # A group of spans that threads share: one for each CPU. Slots are made when the allocator opens, and stay.
    uint32_t tag_base          # (number + 1) << TAG_OWNER_SHIFT: tag - tag_base is the offset of a bin
    uint32_t number
    uint8_t padding[56]
    Shelf shelves[CLASSES_MOST]


cdef struct Inheritance:
    # In a fork child: partly used spans, whose pages the parent shares (spans/inherited.pxd). atomic
    uint64_t classes[2]        # bit c = those of class c are still on their shelves
    uint64_t room              # slices that new spans may take before they are drawn from again; 0 or negative: they are

# ---- heaps: what one thread (or one CPU) keeps in front of the slots

cdef struct Bin:
    # A stack of free objects: an array of pointers in the heap's cells, above a cell that is NULL. No object is touched.
    #     limit - top = entries it has room for        objects in it = top - (limit - capacity), fences counted
    void** top                 # the newest entry; the NULL below the oldest one when the bin is empty
    void** limit               # the highest cell that `top` may reach

cdef struct Source:
    # What the slow paths know of a bin.
    #     capacity < block = a power of two, or 0 and 0        capacity <= the bound that the options set
    uint16_t capacity          # entries that the bin has room for
    uint16_t block             # cells of its block, the NULL included
    uint16_t low               # fewest entries that the bin held when the epoch looked
    uint16_t overflows         # objects that did not fit since the last refill, saturating
    uint8_t refills            # since the last epoch, saturating
    uint8_t idle               # epochs in a row without a refill

cdef struct Sampler:
    # Chooses one of every N entries (heaps/sample.pxd).
    uint32_t left              # entries until the chosen one, which counts
    uint32_t place             # 0 .. N-1: which one of its N it is

cdef struct Heap:
    # A thread's (its own alone, but for fields with a guard), or a CPU's (then whichever thread has its turn).
    #     capacity_bytes = sum over the bins of capacity * size
    #     home_room = remote_kib - bytes of the objects in `home`
    # -- the line that every malloc and free reads
    uint32_t tag_base          # of its slot: tag - tag_base is the bin's offset if the object is of that slot
    int32_t beat               # frees into bins until the slow path is to look: at the next tick, or at a chosen free
    Slot* slot                 # the one that it used last
    Allocator* allocator
    uint32_t id                # 1 ..
    uint32_t live              # 1 while a thread has it (heaps lock)
    int64_t capacity_bytes
    int64_t home_room          # bytes that `home` may still take
    uint64_t epoch_at          # clock, in ms, of the next epoch
    int32_t beat_length        # BEAT_LEAST .. BEAT_MOST
    uint32_t flush_seen        # the allocator's flush_epoch that this heap has followed
    # -- BINS_OFFSET
    Bin bins[CLASSES_MOST]
    Source sources[CLASSES_MOST]
    # -- objects on their way home
    uint32_t home_count
    bint last_zeroed           # whether the object that the last refill returned is known to be zero
    void* home[HOME_CELLS]     # objects of other slots, and of classes without a bin
    # -- cells
    void** cells               # [cell_count] the blocks of the bins
    uint32_t cell_count
    uint32_t cell_top          # cells from here on are unused
    void** cell_free[CELL_BLOCKS]  # blocks of 2**n cells, linked through their first cell
    # -- the rest
    Heap* next                 # all heaps ever made (set once)
    Heap* pool_next            # while no thread has it: the next such heap (heaps lock)
    uint64_t ticked_at         # clock, in ms, of the last tick (atomic)
    Lock turn                  # of a CPU's heap: whose turn it is to be what a thread is to its own heap
    uint32_t tid               # of the thread that has it (heaps lock, as the next)
    uint32_t life              # counts the threads that have had it
    uint32_t steal             # class that gives up bin capacity next
    int32_t beat_rest          # beats until the next tick beyond those that `beat` counts
    uint32_t beat_end          # frees into bins since the heap was made, once `beat` has reached 0 (modulo 2**32)
    uint32_t freed_before      # such frees up to the last refill
    uint32_t fetched_before    # objects that the last refill has fetched
    uint32_t recording         # of the profile that this heap takes part in; 0 = none
    Sampler sample_freed       # among objects that frees put into bins, beyond those that `beat` counts
    Sampler sample_fetched     # among objects that refills put there
    uint64_t sample_seed
    uint32_t cpu               # 1 + the CPU whose heap this is, for good; 0 = a thread's
    int64_t inside             # free bytes that it took home to spans, less those it drew, since its last tick
    bint emptied               # of a CPU's heap: it was flushed as an idle one, and no thread had its turn since
    HeapCounters counters


# ---- the profile of sizes

cdef struct ProfileBucket:
    # Requests of one step of 16 bytes, weighted: in requests of the program, but for `samples`. profile lock
    #     life = sum over the objects of weight * (end - begin), where end = 0 while the object lives (modulo 2**64)
    uint64_t samples           # requests followed
    uint64_t requests, bytes   # and what they asked for
    uint64_t live, live_bytes  # of them, not freed
    uint64_t life              # object milliseconds until now = life + live * now
    uint64_t byte_life         # the same of bytes

cdef struct ProfileLarge:
    uint64_t requests, bytes   # (atomic) all of them, none twice

cdef struct ProfileRecord:
    # An object that is followed. profile lock
    uint64_t begin             # milliseconds
    uint32_t bytes
    uint32_t recording         # the one that follows it
    uint32_t weight
    uint32_t stack             # of a heap profile, as the next two: where it was asked for, by which thread,
    const void* instead        # ... and the free object that it would have got
    uint32_t thread

cdef struct ProfileTables:
    ProfileBucket small[PROFILE_SMALL]
    ProfileLarge large[PROFILE_LARGE]

cdef struct Profile:
    # Its own lock.
    Lock lock
    uint32_t recording, last_recording  # number of the present one, 0 = none (read relaxed without the lock); and the last one's
    uint32_t every             # of the present recording, or the last one
    uint32_t of_heap           # 1 = it is a heap profile, 0 = one of sizes (read relaxed without the lock)
    void* heap                 # rt_heap_tables, mapped by the first heap profile
    uint64_t began, ended      # clock, in ms; ended is 0 while it runs
    ProfileTables* tables      # mapped by the first recording
    Span* slabs[RT_CLASSES_MOST]   # by class: those with free objects


# ---- giving back

cdef struct PageReturn:
    # Pages inside spans. purge lock
    uint64_t calls, bytes      # runs of pages, and what they gave back
    uint64_t spans             # looked at
    uint64_t raced             # runs put back because they were in use after all

cdef struct Purge:
    # Passes over the segments. Its own lock, which only trim() and fork wait for.
    Lock lock
    uint32_t cursor            # segment where the pass goes on; >= opened: the pass is over
    uint64_t pass_at           # clock, in ms, when the next pass begins
    uint64_t muzzy_at          # clock, in ms, when muzzy slices age next: two such steps make one muzzy_decay_ms ...
    bint muzzy_step            # ... and whether they do in this pass
    uint64_t worked_at         # clock, in ms, of the last part of a pass (atomic)
    uint64_t hurry_until       # clock, in ms: until then everything free is due (atomic)
    int64_t delay_ms           # dirty_decay_ms, or more while purged memory is wanted back
    uint64_t given_before, wanted_before  # bytes given back, and wanted back, until the last pass
    uint64_t calls, vectors    # runs of slices; process_madvise calls, for many runs of both kinds
    uint64_t slices, peak_slices  # slices given back, and of them: when a large block raised the peak
    uint64_t peak_allowance, peak_at  # slices that may go back for the peak's sake, as of this clock, in ms
    PageReturn spans

cdef struct Pressure:
    # `flushes` whatever asked for them; `refusals` of them because the kernel refused memory, `alarms` because a source spoke.
    uint64_t flushes, refusals, alarms  # emergency flushes (atomic, as the next)
    uint64_t alarmed_at        # clock, in ms, of the last alarm that was followed
    Lock lock                  # guards `wake`; a write into a pipe that does not block happens under it
    rt_pressure_source wake    # the writing end of a pipe that is told of refusals (kind 0: none)

cdef struct Background:
    uint32_t state             # BACKGROUND_*; the thread sleeps on it (atomic, as the next three)
    uint32_t stirred           # 1: some thread has ticked since the background thread last looked
    uint32_t tid               # of the thread, 0 before it has begun and when a fork has seen it gone
    uint32_t begun             # 1: there has been one, in this process or in the one that it was forked from
    uint32_t watched           # RT_PRESSURE_* bits of the sources that it watches now, 0 when it does not run
    bint opened                # whether they have been opened (the thread's alone, as they are): tried once
    uint64_t pass_at           # clock, in ms, of the next pass as the thread last saw it (the thread's alone)
    uint64_t rests_until       # clock, in ms, before which no other one is started, since a fork has ended one (atomic)
    uint64_t inside            # free bytes inside spans, as far as heaps have told by their ticks (atomic, as the next two)
    uint64_t settled           # least free bytes seen since the thread last ended: it starts at BACKGROUND_WORTH more
    uint32_t held, process     # calls under way that want no thread of ours: none is started; number of the process that this is of
    rt_pressure_source sources[RT_PRESSURE_SOURCES]

cdef struct Limit:
    # Soft limit and hard one. atomic, but what the thread that has `busy` alone touches
    uint64_t group, read_at    # what the control group allows the heap, 0 = no limit; clock, in ms, when it is read again
    uint64_t ended             # bytes of pages that had been returned inside spans which were released since
    uint64_t rounds, spent_us  # times that memory was given back for the limit's sake, and the time that took
    uint64_t rest_until, rest_below  # until this clock, in ms, nothing is done as long as the estimate is below so many bytes
    uint32_t busy, cursor      # 1 while a thread is at it; the segment where it left off (busy, as the next)
    uint64_t tell_at           # clock, in ms
    int64_t credit_us, earned_at  # time that it may take as of this clock, in us

# ---- the whole
cdef struct Giants:
    # Blocks with a mapping of their own. atomic
    RadixMap map               # first page -> bytes
    uint64_t bytes             # mapped now
    uint64_t moved             # times that page tables moved instead of bytes

cdef struct Allocator:
    Arena arena
    TransferCache transfer
    Slot* slots                # [slot_count]
    Inheritance inheritance
    uint32_t slot_count        # 1 .. SLOTS_MOST, fixed when the allocator opens
    uint32_t flush_epoch       # raised when all heaps shall give back what they cache, each at its next tick (atomic)
    Options options
    Profile profile
    Giants giants
    Purge purge
    Pressure pressure
    Background background
    Limit limit
    uint64_t epoch_at          # clock, in ms, of the next look at the shared tiers (atomic)
    uint64_t returns_wanted    # bytes of pages inside spans that were drawn from again after their return (atomic)
    uint64_t spans_formed, spans_released, hints, lock_misses  # statistics (atomic)
    uint32_t ready             # 1 when all else may be used (atomic)
    uint32_t table_read        # 1 when the table of size classes is final
    Lock opening               # held while the allocator is set up
    Lock heaps_lock            # guards what follows
    Heap* heaps                # all heaps, linked by `next`; the newest first (read without the lock)
    Heap* pool                 # heaps without a thread, linked by pool_next
    char* heap_memory          # where the next heaps come from ...
    uint32_t heap_room         # ... and how many fit
    Heap* reclaim              # heap whose thread was looked at last
    uint32_t heap_count, heaps_awake  # all, and those that ticked in the last epochs (read relaxed without the lock)
    uint32_t cpus              # heaps of CPUs
    uint64_t threads_started, threads_ended  # heaps handed to threads, and given back
