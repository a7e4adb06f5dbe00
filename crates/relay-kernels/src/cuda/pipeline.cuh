// Right operands that one warp of a block, the producer, brings to shared memory while others, its consumers, multiply
// with those that are there.
//
// They come in slabs: 128 rows and 64 columns of bf16, as `wgmma` reads them, which lie so in global memory already (see
// `arrange` in pack.cu).
//
// Stands behind wgmma.cuh in front of the files that need it.

static constexpr u32 TILE = 128;
static constexpr u32 SLICE = 64;
static constexpr u32 SLAB = TILE * SLICE * 2;
// Warpgroups that multiply, 64 rows each; one more has the producer.
static constexpr u32 CONSUMERS = 2;
static constexpr u32 THREADS = CONSUMERS * 128 + 128;

#ifndef RELAY_EMULATED
// Waits for all threads of the consumer warpgroup that this one belongs to.
__device__ __forceinline__ void warpgroup_sync() {
    asm volatile("bar.sync %0, 128;" ::"r"(1 + (threadIdx.x >> 7)) : "memory");
}
#endif

// Whether this is a thread of the warpgroup that gives registers away, and of its warp that is the producer.
__device__ __forceinline__ bool producing() { return threadIdx.x >= CONSUMERS * 128; }
__device__ __forceinline__ bool producer() { return threadIdx.x >> 5 == CONSUMERS * 4; }
__device__ __forceinline__ bool first_lane() { return (threadIdx.x & 31) == 0; }

// SLOTS places for slabs in shared memory, which are filled again and again, as one side sees it. Behind them lie two
// barriers for each: all bytes of a slab have come, and all that read it are done.
struct Ring {
    u32 begin;
    // The next slab, and the parity of its turn; the first one that has not been given back.
    u32 slot, turn, held;

    __device__ __forceinline__ explicit Ring(u32 begin) : begin(begin), slot(0), turn(0), held(0) {}

    static constexpr u32 BYTES = SLOTS * (SLAB + 16);
    __device__ __forceinline__ u32 slab() const { return begin + slot * SLAB; }
    __device__ __forceinline__ u32 full(u32 slot) const { return begin + SLOTS * SLAB + slot * 16; }
    __device__ __forceinline__ u32 empty(u32 slot) const { return full(slot) + 8; }

    __device__ __forceinline__ void init() const {
        for (u32 slot = 0; slot < SLOTS; slot++) {
            barrier_init(full(slot), 1);
            barrier_init(empty(slot), CONSUMERS);
        }
    }

    __device__ __forceinline__ void next() {
        slot = slot + 1 == SLOTS ? 0 : slot + 1;
        if (slot == 0) turn ^= 1;
    }

    // Asks for slabs that lie one after the other: what the producer does.
    __device__ __forceinline__ void fill(const u16* slabs, u32 count) {
        for (u32 i = 0; i < count; i++) {
            barrier_wait(empty(slot), turn ^ 1);
            if (first_lane()) {
                barrier_expect(full(slot), SLAB);
                bulk_copy(slab(), slabs + i * (SLAB / 2), SLAB, full(slot));
            }
            next();
        }
    }

    // Waits for the next slab, and says where it is.
    __device__ __forceinline__ u32 take() {
        barrier_wait(full(slot), turn);
        u32 place = slab();
        next();
        return place;
    }

    // Begins sum += left * slab, with the rows of the warpgroup in shared memory.
    __device__ __forceinline__ void multiply(float (&sum)[64], u32 left) {
        u64 a = descriptor(left, 16, 1024), b = descriptor(take(), 16, 1024);
        wgmma_fence();
#pragma unroll
        for (u32 step = 0; step < SLICE / 16; step++) wgmma<0>(sum, a + 2 * step, b + 2 * step, true);
        wgmma_commit();
    }

    // Waits for all products but those with the last PENDING slabs, a group each, and gives the other slabs back.
    template <int PENDING = 0>
    __device__ __forceinline__ void settle() {
        wgmma_wait<PENDING>();
        u32 keep = slot + ((int)slot < PENDING ? SLOTS : 0) - PENDING;
        while (held != keep) {
            if ((threadIdx.x & 127) == 0) barrier_arrive(empty(held));
            held = held + 1 == SLOTS ? 0 : held + 1;
        }
    }
};
