// A ring of slices that one warpgroup loads while others multiply those that are there.
//
// Stands behind wgmma.cuh in front of the files that need it.

extern __shared__ __align__(1024) unsigned char shared[];

static constexpr u32 WARPGROUP = 128;
static constexpr u32 ROWS = 64;
static constexpr u32 SLICE = 64;
// A slice of 64 rows, or columns, and 64 of the inner dimension. With SPLIT these are 32, and then what rounding has left of
// the same 32: so three products need no more than each operand once.
static constexpr u32 PIECE_BYTES = ROWS * SLICE * 2;
static constexpr u32 DEPTH = SLICE / PARTS;

// Begins the product of a slice, from descriptors of both operands, in which 16 of the inner dimension are `unit` apart. With
// SPLIT it is the sum of three: of what both were rounded to, and of each with what is left of the other.
template <int TRANSPOSED, int COUNT>
__device__ __forceinline__ void multiply_slice(float (&sum)[COUNT], u64 left, u64 right, u32 unit, bool add) {
#pragma unroll
    for (int step = 0; step < (SPLIT ? 6 : 4); step++) {
        int of_right = !SPLIT ? step : step < 4 ? step % 2 : step - 2;
        wgmma<TRANSPOSED>(sum, left + unit * (step % 4), right + unit * of_right, add || step > 0);
    }
}

// A ring of slices in shared memory, with two barriers for each place: it is full, it is empty.
template <u32 STAGES, u32 BYTES>
struct Ring {
    u32 base, barriers, stage = 0, parity = 0;

    __device__ __forceinline__ Ring(u32 base, u32 barriers) : base(base), barriers(barriers) {}
    // Before all warpgroups meet. A warp that loads or multiplies arrives once.
    __device__ __forceinline__ void init(u32 loading, u32 multiplying) const {
        for (u32 i = 0; i < STAGES; i++) {
            barrier_init(barriers + 16 * i, loading);
            barrier_init(barriers + 16 * i + 8, multiplying);
        }
    }
    __device__ __forceinline__ void advance(u32 slices) {
        stage += slices;
        if (stage >= STAGES) stage -= STAGES, parity ^= 1;
    }
    __device__ __forceinline__ u32 place() const { return base + stage * BYTES; }
    __device__ __forceinline__ void wait_full() const { barrier_wait(barriers + 16 * stage, parity); }
    // At first all places are empty: of the phase before the first it is known that it has ended.
    __device__ __forceinline__ void wait_empty() const { barrier_wait(barriers + 16 * stage + 8, parity ^ 1); }
    __device__ __forceinline__ void full(u32 at) const {
        if ((threadIdx.x & 31) == 0) barrier_arrive(barriers + 16 * at);
    }
    __device__ __forceinline__ void empty(u32 at) const {
        if ((threadIdx.x & 31) == 0) barrier_arrive(barriers + 16 * at + 8);
    }
};

// What the warpgroup does that loads: `load(number, place)` begins the copies of a slice. That they have come is seen LAG slices
// later.
template <u32 STAGES, u32 BYTES, typename Load>
__device__ __forceinline__ void load_slices(Ring<STAGES, BYTES> ring, u32 slices, Load load) {
    constexpr u32 LAG = STAGES / 2;
    u32 arrived = 0;
    auto announce = [&] {
        shared_fence();
        __syncwarp();
        ring.full(arrived);
        arrived = arrived + 1 == STAGES ? 0 : arrived + 1;
    };
#pragma unroll 1
    for (u32 number = 0; number < slices; number++) {
        ring.wait_empty();
        load(number, ring.place());
        cp_async_commit();
        if (number >= LAG) {
            cp_async_wait<LAG>();
            announce();
        }
        ring.advance(1);
    }
    cp_async_wait<0>();
    for (u32 left = min(slices, LAG); left > 0; left--) announce();
}

// A product of as many slices as there are: `begin(sum, place, slice)` begins that of a slice. Up to PENDING, 0 or 1, are not
// waited for before the next one begins; their places are free later.
template <u32 PENDING, u32 STAGES, u32 BYTES, int COUNT, typename Begin>
__device__ __forceinline__ void multiply_slices(Ring<STAGES, BYTES>& ring, float (&sum)[COUNT], u32 slices, Begin begin) {
    u32 before = 0;
#pragma unroll 1
    for (u32 slice = 0; slice < slices; slice++) {
        ring.wait_full();
        wgmma_fence();
        begin(sum, ring.place(), slice);
        wgmma_commit();
        wgmma_wait<PENDING>();
        if (slice >= PENDING) ring.empty(PENDING ? before : ring.stage);
        before = ring.stage;
        ring.advance(1);
    }
    wgmma_wait<0>();
    wgmma_results(sum);
    if (PENDING) ring.empty(before);
}
