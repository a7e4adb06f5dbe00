#include "machine.h"

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <errno.h>
#include <map>
#include <memory>
#include <ucontext.h>

Index threadIdx, blockIdx, blockDim, gridDim;

namespace machine {

namespace {

constexpr u32 MOST_BLOCKS = 2;
alignas(1024) unsigned char memories[MOST_BLOCKS][SHARED_BYTES];

constexpr size_t STACK_BYTES = 128 * 1024;
// Bytes of shared memory behind a part that belong to none.
constexpr size_t GAP = 512;

struct Fiber {
    Lane lane;
    bool started = false, done = false;
    Meeting* waits_for = nullptr;
    ucontext_t beginning;
    jmp_buf place;
    std::unique_ptr<char[]> stack{new char[STACK_BYTES]};
};
struct Warp {
    Meeting meeting;
    Offer offers[2][32];
};
struct Part {
    int line;
    size_t begin, end;
};
struct Barrier {
    u32 arrivals, missing, phase = 0;
    long long bytes = 0;
    Meeting waiting;
};
struct Block {
    std::vector<Part> parts;
    Meeting meeting, second;
    u32 alive;
    std::map<u32, Barrier> barriers;
};

// Of all blocks of a cluster, one after the other.
std::vector<Fiber> fibers;
std::vector<Warp> warps;
std::vector<Meeting> warpgroups;
std::vector<Block> blocks;
Meeting cluster;
std::deque<BulkCopy> under_way;
u32 first_block;
Fiber* running;
u32 running_index;
jmp_buf scheduler;
const std::function<void()>* kernel;
u32 blocks_so_far = 0;

// Fibers begin by `ucontext`, and go on by `longjmp`, which needs no system call.
void pause() {
    if (!_setjmp(running->place)) _longjmp(scheduler, 1);
}

void release(Meeting& meeting) {
    meeting.arrived = 0;
    for (Fiber& fiber : fibers)
        if (fiber.waits_for == &meeting) fiber.waits_for = nullptr;
}

void begin() {
    (*kernel)();
    // What was begun in the background becomes complete without being waited for.
    lane().copies.commit();
    for (const Copy& copy : lane().copies.due(0)) copy.make();
    running->done = true;
    Block& block = blocks[rank()];
    block.alive--;
    // A barrier does not wait for threads that have returned.
    if (block.meeting.arrived > 0 && block.meeting.arrived == block.alive) release(block.meeting);
    _longjmp(scheduler, 1);
}

void resume(u32 index) {
    running = &fibers[index];
    running_index = index;
    threadIdx = {index % blockDim.x, 0, 0};
    blockIdx.x = first_block + rank();
    shared_memory = memories[rank()];
    if (_setjmp(scheduler)) return;
    if (running->started) _longjmp(running->place, 1);
    running->started = true;
    setcontext(&running->beginning);
}

// Runs the lanes of a warp until all wait for other warps or have returned. Whether any could run.
bool run_warp(u32 warp) {
    for (bool any = false;; any = true) {
        bool ran = false;
        for (u32 index = 32 * warp; index < 32 * warp + 32; index++) {
            if (fibers[index].done || fibers[index].waits_for) continue;
            resume(index);
            ran = true;
        }
        if (!ran) return any;
    }
}

void check_gaps(const unsigned char* memory, const std::vector<Part>& parts) {
    size_t at = 0;
    auto untouched = [&](size_t end) {
        for (; at < end; at++)
            if (memory[at] != 0xff) forbidden("a write to shared memory out of bounds");
    };
    for (const Part& part : parts) {
        untouched(part.begin);
        at = part.end;
    }
    untouched(SHARED_BYTES);
}

// When nothing else can be done, or at once, what is under way comes.
bool copy_one() {
    if (under_way.empty()) return false;
    BulkCopy copy = under_way.front();
    under_way.pop_front();
    copy.make();
    return true;
}

void complete(Barrier& barrier) {
    if (barrier.missing > 0 || barrier.bytes != 0) return;
    barrier.missing = barrier.arrivals, barrier.phase++;
    release(barrier.waiting);
}
Barrier& barrier_at(u32 rank, u32 address) {
    auto known = blocks[rank].barriers.find(address);
    if (known == blocks[rank].barriers.end()) forbidden("a barrier that nobody has prepared");
    return known->second;
}

void run_blocks(u32 count, size_t shared) {
    blocks.assign(count, Block());
    for (u32 i = 0; i < count; i++) {
        memset(memories[i], 0xff, SHARED_BYTES);
        blocks[i].parts = {{-1, 0, shared}};
        blocks[i].alive = blockDim.x;
    }
    warps.assign(fibers.size() / 32, Warp());
    warpgroups.assign(fibers.size() / 128 + 1, Meeting());
    cluster = Meeting();
    for (Fiber& fiber : fibers) {
        fiber.lane = Lane();
        fiber.started = fiber.done = false;
        fiber.waits_for = nullptr;
        getcontext(&fiber.beginning);
        fiber.beginning.uc_stack.ss_sp = fiber.stack.get();
        fiber.beginning.uc_stack.ss_size = STACK_BYTES;
        fiber.beginning.uc_link = nullptr;
        makecontext(&fiber.beginning, begin, 0);
    }
    bool backwards = blocks_so_far & 1;
    auto alive = [] {
        u32 sum = 0;
        for (const Block& block : blocks) sum += block.alive;
        return sum > 0;
    };
    while (alive()) {
        bool ran = false;
        for (size_t i = 0; i < warps.size(); i++) ran |= run_warp(backwards ? warps.size() - 1 - i : i);
        if (!ran && !copy_one()) forbidden("threads wait for others that never come");
    }
    if (!under_way.empty()) forbidden("copies to a block that has ended");
    for (u32 i = 0; i < count; i++) check_gaps(memories[i], blocks[i].parts);
    blocks_so_far++;
}

}  // namespace

unsigned char* shared_memory = memories[0];

void forbidden(const char* what) {
    printf("FAILED %s, block %u %u %u, thread %u: %s\n", program_invocation_short_name, blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x, what);
    fflush(stdout);
    _Exit(1);
}

void launch(Index grid, u32 threads, size_t shared, const std::function<void()>& work, u32 count) {
    if (threads % 32 || threads > 1024 || shared > 227 * 1024) forbidden("a launch that no device allows");
    if (count > MOST_BLOCKS || grid.x % count) forbidden("a grid that is not made of clusters");
    if (fibers.size() != threads * count) fibers = std::vector<Fiber>(threads * count);
    kernel = &work;
    gridDim = grid;
    blockDim = {threads, 1, 1};
    for (u32 z = 0; z < grid.z; z++)
        for (u32 y = 0; y < grid.y; y++)
            for (u32 x = 0; x < grid.x; x += count) {
                blockIdx = {x, y, z}, first_block = x;
                run_blocks(count, shared);
            }
}

void* static_shared(int line, size_t bytes) {
    std::vector<Part>& parts = blocks[rank()].parts;
    for (const Part& part : parts)
        if (part.line == line) return shared_memory + part.begin;
    size_t begin = (parts.back().end + GAP + 15) / 16 * 16;
    if (begin + bytes + GAP > SHARED_BYTES) forbidden("more shared memory than there is");
    parts.push_back({line, begin, begin + bytes});
    return shared_memory + begin;
}

void* at_shared(u32 address, size_t bytes) {
    if (address % bytes) forbidden("an address in shared memory that is not aligned");
    for (const Part& part : blocks[rank()].parts)
        if (part.begin <= address && address + bytes <= part.end) return shared_memory + address;
    forbidden("an address in shared memory out of bounds");
}

void meet(Meeting& meeting, u32 lanes) {
    if (++meeting.arrived == lanes) {
        release(meeting);
    } else {
        running->waits_for = &meeting;
        pause();
    }
}
void meet_block() { meet(blocks[rank()].meeting, blocks[rank()].alive); }
void meet_warp() { meet(warps[running_index / 32].meeting, 32); }
void meet_warpgroup() { meet(warpgroups[warpgroup()], 128); }
void meet_second(bool wait) {
    Meeting& meeting = blocks[rank()].second;
    if (++meeting.arrived == 256) {
        release(meeting);
    } else if (wait) {
        running->waits_for = &meeting;
        pause();
    }
}
void meet_cluster() { meet(cluster, fibers.size()); }
u32 rank() { return running_index / blockDim.x; }
u32 warpgroup() { return running_index / 128; }

void barrier_init(u32 address, u32 arrivals) {
    at_shared(address, 8);
    Barrier barrier = {};
    barrier.arrivals = barrier.missing = arrivals;
    if (!blocks[rank()].barriers.insert({address, barrier}).second) forbidden("a barrier that is prepared twice");
    // Its content is nothing that may be read or written in another way.
    memset(at_shared(address, 8), 0xee, 8);
}
void barrier_expect(u32 address, u32 bytes) {
    barrier_at(rank(), address).bytes += bytes;
    barrier_arrive(address, rank());
}
void barrier_arrive(u32 address, u32 rank) {
    Barrier& barrier = barrier_at(rank, address);
    if (barrier.missing == 0) forbidden("more arrivals at a barrier than it waits for");
    barrier.missing--;
    complete(barrier);
}
void barrier_wait(u32 address, u32 parity) {
    Barrier& barrier = barrier_at(rank(), address);
    while (barrier.phase % 2 == parity) {
        running->waits_for = &barrier.waiting;
        pause();
    }
}
void add(const BulkCopy& copy) {
    if ((size_t)copy.from % 16 || copy.bytes % 16) forbidden("a copy from where nothing is aligned");
    if (copies_at_once()) copy.make();
    else under_way.push_back(copy);
}

const Offer* exchange(const Offer& mine) {
    // Two sets of places in turn: who is slow to read one has not yet come to where the other is full.
    Warp& warp = warps[running_index / 32];
    Offer* offers = warp.offers[lane().exchanges++ % 2];
    offers[threadIdx.x % 32] = mine;
    meet(warp.meeting, 32);
    if (strcmp(offers[(threadIdx.x + 1) % 32].instruction, mine.instruction) != 0)
        forbidden("lanes of a warp are at different instructions");
    return offers;
}

void Copy::make() const {
    void* place = at_shared(to, 16);
    if (valid) memcpy(place, from, 16);
    else memset(place, 0, 16);
}

void BulkCopy::make() const {
    // Of a part of shared memory that goes on for so long.
    for (const Part& part : blocks[rank].parts) {
        if (to < part.begin || to + bytes > part.end || to % 16) continue;
        memcpy(memories[rank] + to, from, bytes);
        Barrier& waits = barrier_at(rank, barrier);
        waits.bytes -= bytes;
        complete(waits);
        return;
    }
    forbidden("a copy to shared memory out of bounds");
}

Lane& lane() { return running->lane; }
bool copies_at_once() { return blocks_so_far & 2; }

}  // namespace machine
