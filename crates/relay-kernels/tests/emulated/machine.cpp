#include "machine.h"

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <errno.h>
#include <map>
#include <memory>
#include <ucontext.h>

Index threadIdx, blockIdx, blockDim, gridDim;

namespace machine {

constexpr u32 MOST_BLOCKS = 8;
alignas(1024) static unsigned char memories[MOST_BLOCKS][SHARED_BYTES];
// Of the first block until another runs, as constants of kernels that run alone are made before.
unsigned char* shared_memory = memories[0];

namespace {

constexpr size_t STACK_BYTES = 128 * 1024;
// Bytes of shared memory behind a part that belong to none.
constexpr size_t GAP = 512;

struct Block;
struct Fiber {
    Lane lane;
    Block* block;
    u32 index;
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
// A barrier in shared memory.
struct Counter {
    u32 expected, missing, phase = 0;
    long bytes = 0;
    Meeting meeting;
};
struct Block {
    Index index;
    u32 rank, alive;
    unsigned char* memory;
    std::vector<Warp> warps;
    std::vector<Part> parts;
    Meeting all;
    std::map<u32, Meeting> some;
    std::map<u32, Counter> counters;
};
// Work that no lane has to wait for yet.
struct Work {
    u32 barrier, bytes;
    Block* block;
    std::function<void()> write;
};

std::vector<Fiber> fibers;
std::vector<Block> blocks;
std::vector<Work> background;
Meeting cluster;
Fiber* running;
jmp_buf scheduler;
const std::function<void()>* kernel;
u32 blocks_so_far = 0;

Block& block() { return *running->block; }
u32 alive() {
    u32 sum = 0;
    for (const Block& block : blocks) sum += block.alive;
    return sum;
}

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
    block().alive--;
    // A barrier does not wait for threads that have returned.
    if (block().all.arrived > 0 && block().all.arrived == block().alive) release(block().all);
    _longjmp(scheduler, 1);
}

void resume(u32 index) {
    running = &fibers[index];
    threadIdx = {running->index, 0, 0};
    blockIdx = block().index;
    shared_memory = block().memory;
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

void check_gaps(const Block& block) {
    size_t at = 0;
    auto untouched = [&](size_t end) {
        for (; at < end; at++)
            if (block.memory[at] != 0xff) forbidden("a write to shared memory out of bounds");
    };
    for (const Part& part : block.parts) {
        untouched(part.begin);
        at = part.end;
    }
    untouched(SHARED_BYTES);
}

void count(Counter& counter) {
    if (counter.missing > 0 || counter.bytes != 0) return;
    counter.phase++;
    counter.missing = counter.expected;
    release(counter.meeting);
}

void finish(const Work& work) {
    // By an address in its own block.
    shared_memory = work.block->memory;
    work.write();
    auto counter = work.block->counters.find(work.barrier);
    if (counter == work.block->counters.end()) forbidden("a copy whose barrier is none");
    counter->second.bytes -= work.bytes;
    count(counter->second);
}

// The work in the background that is done next, now that no lane can go on: the first that was begun, or the last.
bool finish_one(bool last) {
    if (background.empty()) return false;
    size_t at = last ? background.size() - 1 : 0;
    Work work = background[at];
    background.erase(background.begin() + at);
    finish(work);
    return true;
}

void prepare(Block& block, u32 threads, size_t shared) {
    memset(block.memory, 0xff, SHARED_BYTES);
    block.parts = {{-1, 0, shared}};
    block.warps.assign(threads / 32, Warp());
    block.alive = threads;
}

void run_blocks(u32 threads, size_t shared) {
    cluster = Meeting();
    for (Block& block : blocks) prepare(block, threads, shared);
    for (size_t i = 0; i < fibers.size(); i++) {
        Fiber& fiber = fibers[i];
        fiber.lane = Lane();
        fiber.block = &blocks[i / threads];
        fiber.index = i % threads;
        fiber.started = fiber.done = false;
        fiber.waits_for = nullptr;
        getcontext(&fiber.beginning);
        fiber.beginning.uc_stack.ss_sp = fiber.stack.get();
        fiber.beginning.uc_stack.ss_size = STACK_BYTES;
        fiber.beginning.uc_link = nullptr;
        makecontext(&fiber.beginning, begin, 0);
    }
    bool backwards = blocks_so_far & 1;
    u32 warps = fibers.size() / 32;
    while (alive() > 0) {
        bool ran = false;
        for (u32 i = 0; i < warps; i++) ran |= run_warp(backwards ? warps - 1 - i : i);
        if (!ran && !finish_one(backwards)) forbidden("threads wait for others that never come");
    }
    for (const Block& block : blocks) check_gaps(block);
    if (!background.empty()) forbidden("a block ends before what it is sent has come");
    blocks_so_far++;
}

}  // namespace

void forbidden(const char* what) {
    printf("FAILED %s, block %u %u %u, thread %u: %s\n", program_invocation_short_name, blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x, what);
    fflush(stdout);
    _Exit(1);
}

void launch(Index grid, u32 threads, size_t shared, const std::function<void()>& work, u32 cluster) {
    if (threads % 32 || threads > 1024 || shared > 227 * 1024 || cluster > MOST_BLOCKS || grid.x % cluster)
        forbidden("a launch that no device allows");
    if (fibers.size() != threads * cluster) fibers = std::vector<Fiber>(threads * cluster);
    kernel = &work;
    gridDim = grid;
    blockDim = {threads, 1, 1};
    for (u32 z = 0; z < grid.z; z++)
        for (u32 y = 0; y < grid.y; y++)
            for (u32 x = 0; x < grid.x; x += cluster) {
                blocks = std::vector<Block>(cluster);
                for (u32 rank = 0; rank < cluster; rank++) {
                    blocks[rank].index = {x + rank, y, z};
                    blocks[rank].rank = rank;
                    blocks[rank].memory = memories[rank];
                }
                run_blocks(threads, shared);
            }
}

void* static_shared(int line, size_t bytes) {
    std::vector<Part>& parts = block().parts;
    for (const Part& part : parts)
        if (part.line == line) return shared_memory + part.begin;
    size_t begin = (parts.back().end + GAP + 15) / 16 * 16;
    if (begin + bytes + GAP > SHARED_BYTES) forbidden("more shared memory than there is");
    parts.push_back({line, begin, begin + bytes});
    return shared_memory + begin;
}

void* at_shared(u32 address, size_t bytes) {
    if (address % bytes) forbidden("an address in shared memory that is not aligned");
    u32 rank = address / SHARED_BYTES;
    const Block& its = rank == 0 ? block() : blocks[rank - 1];
    address %= SHARED_BYTES;
    for (const Part& part : its.parts)
        if (part.begin <= address && address + bytes <= part.end) return its.memory + address;
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
void meet_block() { meet(block().all, block().alive); }
void meet_warp() { meet(block().warps[threadIdx.x / 32].meeting, 32); }
void meet_cluster() { meet(cluster, alive()); }
void meet_some(u32 barrier, u32 lanes) { meet(block().some[barrier], lanes); }

const Offer* exchange(const Offer& mine) {
    // Two sets of places in turn: who is slow to read one has not yet come to where the other is full.
    Warp& warp = block().warps[threadIdx.x / 32];
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

u32 rank() { return block().rank; }
u32 map_shared(u32 address, u32 rank) {
    if (rank >= blocks.size()) forbidden("a block that is not in the cluster");
    return address % SHARED_BYTES + (rank + 1) * SHARED_BYTES;
}

namespace {
Counter& counter_of(u32 address) {
    auto found = block().counters.find(address);
    if (found == block().counters.end()) forbidden("a barrier that is none");
    return found->second;
}
}  // namespace

void init_barrier(u32 address, u32 arrivals) {
    // What is written over a barrier is found out by who looks into its place.
    memset(at_shared(address, 8), 0, 8);
    block().counters[address] = Counter{arrivals, arrivals, 0, 0, {}};
}
void arrive(u32 address, u32 arrivals, u32 bytes_expected) {
    Counter& counter = counter_of(address);
    if (arrivals > counter.missing) forbidden("more arrivals than a barrier waits for");
    counter.bytes += bytes_expected;
    counter.missing -= arrivals;
    count(counter);
}
void wait(u32 address, u32 parity) {
    Counter& counter = counter_of(address);
    if ((counter.phase & 1) == parity) {
        running->waits_for = &counter.meeting;
        pause();
        if ((counter.phase & 1) == parity) forbidden("a barrier has gone on before all have seen it");
    }
}
void in_background(u32 barrier, u32 bytes, const std::function<void()>& write) {
    bool own = barrier < SHARED_BYTES;
    Work work = {barrier % (u32)SHARED_BYTES, bytes, own ? &block() : &blocks[barrier / SHARED_BYTES - 1], write};
    if (!copies_at_once()) {
        background.push_back(work);
        return;
    }
    finish(work);
    shared_memory = block().memory;
}
void copy_bulk(u32 to, const void* from, u32 bytes, u32 barrier) {
    if ((size_t)from % 16 || bytes % 16 || bytes == 0) forbidden("a copy that is not of whole 16 bytes");
    unsigned char* place = (unsigned char*)at_shared(to, 16);
    at_shared(to + bytes - 16, 16);
    in_background(barrier, bytes, [=] { memcpy(place, from, bytes); });
}

}  // namespace machine
