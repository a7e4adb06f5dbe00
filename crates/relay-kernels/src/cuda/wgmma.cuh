// What the kernels share whose warpgroups multiply together: the instructions for it, and how results are written.
//
// Stands behind common.cuh in front of the files that need it.

// What `wgmma` needs to know of a tile: where it is, and its strides in bytes, which mean other things by its orientation.
__device__ __forceinline__ u64 descriptor(u32 address, u32 leading, u32 stride) {
    u64 swizzle_of_128_bytes = 1ull << 62;
    return (u64)((address & 0x3ffff) >> 4) | (u64)(leading >> 4) << 16 | (u64)(stride >> 4) << 32 | swizzle_of_128_bytes;
}

#ifndef RELAY_EMULATED
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Waits for all products but those of the last groups.
template <int PENDING = 0>
__device__ __forceinline__ void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}
// What was written to shared memory by ordinary means is seen by the tensor cores from here on.
__device__ __forceinline__ void shared_fence() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

#define FOUR(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define SIXTEEN(d, i) FOUR(d, i), FOUR(d, i + 4), FOUR(d, i + 8), FOUR(d, i + 12)

// d += a * b for 64 x 128 results and 16 of the inner dimension; TRANSPOSED operands have it as their slow dimension.
template <int TRANSPOSED>
__device__ __forceinline__ void wgmma(float (&d)[64], u64 a, u64 b) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
        "%64, %65, 1, 1, 1, %66, %66;"
        : SIXTEEN(d, 0), SIXTEEN(d, 16), SIXTEEN(d, 32), SIXTEEN(d, 48)
        : "l"(a), "l"(b), "n"(TRANSPOSED));
}
// The same with a left operand in registers, which is laid out as sums are.
__device__ __forceinline__ void wgmma_left(float (&d)[64], u32 a0, u32 a1, u32 a2, u32 a3, u64 b) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
        "{%64, %65, %66, %67}, %68, 1, 1, 1, 0;"
        : SIXTEEN(d, 0), SIXTEEN(d, 16), SIXTEEN(d, 32), SIXTEEN(d, 48)
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "l"(b));
}
// Keeps what is done with sums from being moved in front of where they are waited for.
__device__ __forceinline__ void wgmma_results(float (&d)[64]) {
    asm volatile("" : SIXTEEN(d, 0), SIXTEEN(d, 16), SIXTEEN(d, 32), SIXTEEN(d, 48)::"memory");
}
#endif

struct Sizes {
    u32 m, n, k;
};

// Writes 16 columns of a row as bf16, 32 bytes for each four threads: what two neighbours hold of two groups of eight
// columns, `first` and `second`, is exchanged so that each has four in a row.
__device__ __forceinline__ void store_sixteen(u16* out, Sizes size, u32 line, u32 group, u32 first, u32 second) {
    u32 lane = threadIdx.x & 31;
    bool odd = lane & 1;
    u32 other = __shfl_xor_sync(0xffffffffu, odd ? first : second, 1);
    uint2 pair = odd ? make_uint2(other, second) : make_uint2(first, other);
    u32 at = group + odd * 8 + (lane & 2) * 2;
    if (line < size.m && at < size.n) *(uint2*)(out + (u64)line * size.n + at) = pair;
}

// What a thread holds of 16 columns in one of its two rows, for all such: `each(line, group, a, b, c, d)` gets two numbers
// at its place in the first eight columns and two in the second.
template <typename Each>
__device__ __forceinline__ void each_four(float (&sum)[64], u32 row, u32 column, Each each) {
    u32 line = row + (threadIdx.x >> 5) * 16 + ((threadIdx.x & 31) >> 2);
#pragma unroll
    for (int i = 0; i < 16; i += 2) {
#pragma unroll
        for (int low = 0; low < 2; low++) {
            int at = 4 * i + 2 * low;
            each(line + 8 * low, column + 8 * i, sum[at], sum[at + 1], sum[at + 4], sum[at + 5]);
        }
    }
}

__device__ __forceinline__ void store(u16* out, float (&sum)[64], Sizes size, u32 row, u32 column) {
    each_four(sum, row, column, [&](u32 line, u32 group, float& a, float& b, float& c, float& d) {
        store_sixteen(out, size, line, group, pack_bf16(a, b), pack_bf16(c, d));
    });
}

