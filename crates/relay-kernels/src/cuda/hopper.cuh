// What is special to Hopper: products of a warpgroup of 128 threads, and barriers in shared memory between warpgroups of which
// one loads what others multiply.

extern __shared__ __align__(1024) unsigned char shared[];

// What `wgmma` needs to know of a tile: where it is, and its strides in bytes, which mean other things by its orientation.
__device__ __forceinline__ u64 descriptor(u32 address, u32 leading, u32 stride) {
    u64 swizzle_of_128_bytes = 1ull << 62;
    return (u64)((address & 0x3ffff) >> 4) | (u64)(leading >> 4) << 16 | (u64)(stride >> 4) << 32 | swizzle_of_128_bytes;
}

#ifndef RELAY_EMULATED
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int PENDING>
__device__ __forceinline__ void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}
// What was written to shared memory by ordinary means is seen by the tensor cores from here on.
__device__ __forceinline__ void shared_fence() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

#define FOUR(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define SIXTEEN(d, i) FOUR(d, i), FOUR(d, i + 4), FOUR(d, i + 8), FOUR(d, i + 12)

// d = a * b, plus what was in d if `add`, for 64 x 128 or 64 x 256 results and 16 of the inner dimension; TRANSPOSED operands
// have it as their slow dimension.
template <int TRANSPOSED>
__device__ __forceinline__ void wgmma(float (&d)[64], u64 a, u64 b, bool add) {
    asm volatile(
        "{\n.reg .pred add;\nsetp.ne.b32 add, %66, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
        "%64, %65, add, 1, 1, %67, %67;\n}"
        : SIXTEEN(d, 0), SIXTEEN(d, 16), SIXTEEN(d, 32), SIXTEEN(d, 48)
        : "l"(a), "l"(b), "r"((int)add), "n"(TRANSPOSED));
}
template <int TRANSPOSED>
__device__ __forceinline__ void wgmma(float (&d)[128], u64 a, u64 b, bool add) {
    asm volatile(
        "{\n.reg .pred add;\nsetp.ne.b32 add, %130, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
        "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
        "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
        "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
        "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, "
        "%128, %129, add, 1, 1, %131, %131;\n}"
        : SIXTEEN(d, 0), SIXTEEN(d, 16), SIXTEEN(d, 32), SIXTEEN(d, 48), SIXTEEN(d, 64), SIXTEEN(d, 80), SIXTEEN(d, 96),
          SIXTEEN(d, 112)
        : "l"(a), "l"(b), "r"((int)add), "n"(TRANSPOSED));
}

// Barriers: a phase ends with the arrival that it was made for. Who waits names the parity of the phase, 0 for the first.
__device__ __forceinline__ void barrier_init(u32 barrier, u32 arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
__device__ __forceinline__ void barrier_arrive(u32 barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
__device__ __forceinline__ void barrier_wait(u32 barrier, u32 parity) {
    asm volatile(
        "{\n.reg .pred done;\nAGAIN:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n@!done bra AGAIN;\n}" ::"r"(barrier),
        "r"(parity)
        : "memory");
}

// Registers of each thread of a warpgroup from here on: what one gives back another may take.
template <int COUNT>
__device__ __forceinline__ void fewer_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT));
}
template <int COUNT>
__device__ __forceinline__ void more_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT));
}
#endif

static constexpr u32 WARPGROUP = 128;
static constexpr u32 ROWS = 64;
static constexpr u32 SLICE = 64;
// A slice of 64 rows, or columns, and 64 of the inner dimension.
static constexpr u32 PIECE_BYTES = ROWS * SLICE * 2;

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
    if (PENDING) ring.empty(before);
}
