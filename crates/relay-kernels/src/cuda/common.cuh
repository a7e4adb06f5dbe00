// What all kernels share: types, bf16, masks of dropout, the instructions of the tensor cores.
//
// No header is included, so that no CUDA toolkit is needed where the kernels are compiled.

typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned long long u64;

// What is in PTX stands between `#ifndef RELAY_EMULATED` and `#endif`: the tests that need no GPU have it in C++.

#ifndef RELAY_EMULATED
// 2^x; 0 for minus infinity.
__device__ __forceinline__ float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
__device__ __forceinline__ float reciprocal(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// Two numbers rounded to bf16, the first in the low half.
__device__ __forceinline__ u32 pack_bf16(float low, float high) {
    u32 packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}
#endif
__device__ __forceinline__ float low_bf16(u32 packed) { return __uint_as_float(packed << 16); }
__device__ __forceinline__ float high_bf16(u32 packed) { return __uint_as_float(packed & 0xffff0000u); }
// What rounding two numbers to a pair has left of them, rounded: both pairs together have 16 bits of each number.
__device__ __forceinline__ u32 left_over(u32 pair, float x, float y) {
    return pack_bf16(x - low_bf16(pair), y - high_bf16(pair));
}
__device__ __forceinline__ u16 to_bf16(float x) { return (u16)pack_bf16(x, 0.0f); }
__device__ __forceinline__ float from_bf16(u16 x) { return __uint_as_float((u32)x << 16); }

// Which elements are dropped, as a pure function of their index: see dropout.rs, which draws the same.
struct Mask {
    u32 first, second, threshold;
    float keep;

    __device__ __forceinline__ bool drops() const { return threshold > 0; }
};
__device__ __forceinline__ u32 mix32(u32 x) {
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = (x ^ (x >> 15)) * 0x846ca68bu;
    return x ^ (x >> 16);
}
__device__ __forceinline__ float mask_factor(const Mask& mask, u32 index) {
    u32 draw = mix32(mix32(index ^ mask.first) + mask.second);
    return draw < mask.threshold ? 0.0f : mask.keep;
}

// The normal distribution up to -size, divided by exp(-size^2 / 2), for a size from 0 on: Abramowitz and Stegun's formula
// 7.1.26, off by at most 1e-7.
__device__ __forceinline__ float normal_tail(float size) {
    float t = reciprocal(1.0f + 0.23164190f * size);
    return t * (0.12741479f + t * (-0.14224837f + t * (0.71070687f + t * (-0.72657601f + t * 0.53070271f))));
}
// exp(-x^2 / 2).
__device__ __forceinline__ float bell_of(float x) { return exp2_fast(-0.72134752f * x * x); }
// The normal distribution up to x, and exp(-x^2 / 2).
__device__ __forceinline__ float normal_below(float x, float& bell) {
    bell = bell_of(x);
    float tail = normal_tail(fabsf(x)) * bell;
    return x < 0.0f ? tail : 1.0f - tail;
}
// The exact GELU, and its derivative.
__device__ __forceinline__ float gelu(float x, float& slope) {
    float bell, below = normal_below(x, bell);
    slope = below + x * 0.39894228f * bell;
    return x * below;
}

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int step = 16; step > 0; step >>= 1) x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}
__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
    for (int step = 16; step > 0; step >>= 1) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
    return x;
}

#ifndef RELAY_EMULATED
// Adds to two numbers in global memory, which lie side by side from an even one on.
__device__ __forceinline__ void add_pair(float* to, float x, float y) {
    asm volatile("red.global.add.v2.f32 [%0], {%1, %2};" ::"l"(to), "f"(x), "f"(y) : "memory");
}
// Adds to four numbers in global memory, which lie side by side from a multiple of four on.
__device__ __forceinline__ void add_four(float* to, float4 x) {
    asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to), "f"(x.x), "f"(x.y), "f"(x.z), "f"(x.w)
                 : "memory");
}

__device__ __forceinline__ u32 smem_address(const void* pointer) {
    return (u32)__cvta_generic_to_shared(pointer);
}

// Brings a line of 128 bytes closer that will be read later.
__device__ __forceinline__ void prefetch(const void* line) { asm volatile("prefetch.global.L2 [%0];" ::"l"(line)); }

// Copies 16 bytes to shared memory in the background; zeros where they are not valid.
__device__ __forceinline__ void cp_async16(u32 to, const void* from, bool valid) {
    int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes));
}
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;"); }
template <int PENDING>
__device__ __forceinline__ void cp_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING));
}

__device__ __forceinline__ void ldmatrix_x4(u32& a, u32& b, u32& c, u32& d, u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(a), "=r"(b), "=r"(c), "=r"(d)
                 : "r"(address));
}
__device__ __forceinline__ void ldmatrix_x4_trans(u32& a, u32& b, u32& c, u32& d, u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(a), "=r"(b), "=r"(c), "=r"(d)
                 : "r"(address));
}
__device__ __forceinline__ void mma16816(float (&d)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
        "%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
#endif
