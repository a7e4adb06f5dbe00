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

alignas(1024) unsigned char shared_memory[SHARED_BYTES];

namespace {

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
    u32 arrivals, missing, phase;
    long long bytes;
    Meeting waiting;
};

std::vector<Fiber> fibers;
std::vector<Warp> warps;
std::vector<Meeting> warpgroups;
std::map<u32, Barrier> barriers;
std::deque<BulkCopy> under_way;
std::vector<Part> parts;
Meeting block;
u32 alive;
Fiber* running;
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
    alive--;
    // A barrier does not wait for threads that have returned.
    if (block.arrived > 0 && block.arrived == alive) release(block);
    _longjmp(scheduler, 1);
}

void resume(u32 index) {
    running = &fibers[index];
    threadIdx = {index, 0, 0};
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

void check_gaps() {
    size_t at = 0;
    auto untouched = [&](size_t end) {
        for (; at < end; at++)
            if (shared_memory[at] != 0xff) forbidden("a write to shared memory out of bounds");
    };
    for (const Part& part : parts) {
        untouched(part.begin);
        at = part.end;
    }
    untouched(SHARED_BYTES);
}

// What is under way comes when nothing else can be done.
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
Barrier& barrier_at(u32 address) {
    auto known = barriers.find(address);
    if (known == barriers.end()) forbidden("a barrier that nobody has prepared");
    return known->second;
}

void run_block(u32 threads, size_t shared) {
    memset(shared_memory, 0xff, SHARED_BYTES);
    parts = {{-1, 0, shared}};
    warps.assign(threads / 32, Warp());
    warpgroups.assign(threads / 128 + 1, Meeting());
    block = Meeting();
    barriers.clear();
    alive = threads;
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
    while (alive > 0) {
        bool ran = false;
        for (size_t i = 0; i < warps.size(); i++) ran |= run_warp(backwards ? warps.size() - 1 - i : i);
        if (!ran && !copy_one()) forbidden("threads wait for others that never come");
    }
    if (!under_way.empty()) forbidden("copies to a block that has ended");
    check_gaps();
    blocks_so_far++;
}

}  // namespace

void forbidden(const char* what) {
    printf("FAILED %s, block %u %u %u, thread %u: %s\n", program_invocation_short_name, blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x, what);
    fflush(stdout);
    _Exit(1);
}

void launch(Index grid, u32 threads, size_t shared, const std::function<void()>& work) {
    if (threads % 32 || threads > 1024 || shared > 227 * 1024) forbidden("a launch that no device allows");
    if (fibers.size() != threads) fibers = std::vector<Fiber>(threads);
    kernel = &work;
    gridDim = grid;
    blockDim = {threads, 1, 1};
    for (u32 z = 0; z < grid.z; z++)
        for (u32 y = 0; y < grid.y; y++)
            for (u32 x = 0; x < grid.x; x++) {
                blockIdx = {x, y, z};
                run_block(threads, shared);
            }
}

void* static_shared(int line, size_t bytes) {
    for (const Part& part : parts)
        if (part.line == line) return shared_memory + part.begin;
    size_t begin = (parts.back().end + GAP + 15) / 16 * 16;
    if (begin + bytes + GAP > SHARED_BYTES) forbidden("more shared memory than there is");
    parts.push_back({line, begin, begin + bytes});
    return shared_memory + begin;
}

void* at_shared(u32 address, size_t bytes) {
    if (address % bytes) forbidden("an address in shared memory that is not aligned");
    for (const Part& part : parts)
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
void meet_block() { meet(block, alive); }
void meet_warp() { meet(warps[threadIdx.x / 32].meeting, 32); }
void meet_warpgroup() { meet(warpgroups[threadIdx.x / 128], 128); }

void barrier_init(u32 address, u32 arrivals) {
    at_shared(address, 8);
    if (!barriers.insert({address, {arrivals, arrivals, 0, 0, {}}}).second) forbidden("a barrier that is prepared twice");
}
void barrier_expect(u32 address, u32 bytes) {
    barrier_at(address).bytes += bytes;
    barrier_arrive(address);
}
void barrier_arrive(u32 address) {
    Barrier& barrier = barrier_at(address);
    if (barrier.missing == 0) forbidden("more arrivals at a barrier than it waits for");
    barrier.missing--;
    complete(barrier);
}
void barrier_wait(u32 address, u32 parity) {
    Barrier& barrier = barrier_at(address);
    while (barrier.phase % 2 == parity) {
        running->waits_for = &barrier.waiting;
        pause();
    }
}
void add(const BulkCopy& copy) {
    if ((size_t)copy.from % 16 || copy.to % 16 || copy.bytes % 16) forbidden("a copy from or to where nothing is aligned");
    if (copies_at_once()) copy.make();
    else under_way.push_back(copy);
}
void BulkCopy::make() const {
    for (const Part& part : parts) {
        if (to < part.begin || to + bytes > part.end) continue;
        memcpy(shared_memory + to, from, bytes);
        Barrier& waits = barrier_at(barrier);
        waits.bytes -= bytes;
        complete(waits);
        return;
    }
    forbidden("a copy to shared memory out of bounds");
}

const Offer* exchange(const Offer& mine) {
    // Two sets of places in turn: who is slow to read one has not yet come to where the other is full.
    Warp& warp = warps[threadIdx.x / 32];
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

Lane& lane() { return running->lane; }
bool copies_at_once() { return blocks_so_far & 2; }

}  // namespace machine
