// What CUDA C++ has and C++ has not, for kernels whose lanes are fibers. See machine.h.
//
// run.sh has replaced declarations of shared memory before this is read.
#pragma once
#include <cmath>
#include <cstring>

#include "machine.h"

#define __device__
#define __global__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)

// Aligned as on the device: the compiler is told to stop where they are read from somewhere else.
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    u32 x, y;
};
struct alignas(16) uint4 {
    u32 x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(u32 x, u32 y) { return {x, y}; }
inline uint4 make_uint4(u32 x, u32 y, u32 z, u32 w) { return {x, y, z, w}; }

template <typename To, typename From>
inline To same_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "bits are neither added nor lost");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
inline float __uint_as_float(u32 x) { return same_bits<float>(x); }
inline float __int_as_float(int x) { return same_bits<float>(x); }
inline u32 __float_as_uint(float x) { return same_bits<u32>(x); }

inline void __syncthreads() { machine::meet_block(); }
inline void __syncwarp() { machine::meet_warp(); }

template <typename T>
inline T __shfl_xor_sync(u32 lanes, T x, u32 with) {
    if (lanes != 0xffffffffu) machine::forbidden("a shuffle of a part of a warp, which is not emulated");
    const machine::Offer* offers = machine::exchange({"shfl.xor", {same_bits<u32>(x)}});
    return same_bits<T>(offers[(threadIdx.x % 32) ^ with].word[0]);
}

// One lane runs at a time. An addition to NaN leaves it as it is, even behind a buffer, and so must not go unnoticed.
inline void atomicAdd(float* to, float x) {
    if (__float_as_uint(*to) == 0xffffffffu) machine::forbidden("an addition to a number that nobody has written");
    *to += x;
}

inline u32 min(u32 a, u32 b) { return a < b ? a : b; }
inline int min(int a, int b) { return a < b ? a : b; }
inline u32 max(u32 a, u32 b) { return a > b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }

// The device's are a few units in the last place less exact than these.
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float __fdividef(float x, float y) { return x / y; }
// Headers of glibc declare some of these names, for its own use.
#define __expf expf
#define __logf logf
#define __log2f log2f
