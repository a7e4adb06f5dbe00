// The functions of common.cuh and attention.cu that stand for single instructions, done by lanes that are fibers.
//
// Which lane holds which number of a matrix is what the PTX ISA says of `ldmatrix` and `mma.m16n8k16`.
#pragma once
#include "cuda.h"

// To the nearest, of two as near the even one.
inline u32 rounded_bf16(float x) {
    u32 bits = __float_as_uint(x);
    return x != x ? 0x7fffu : (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}
inline u32 pack_bf16(float low, float high) { return rounded_bf16(low) | rounded_bf16(high) << 16; }
inline float half_of(u32 packed, u32 which) { return __uint_as_float(which ? packed & 0xffff0000u : packed << 16); }

inline float exp2_fast(float x) { return exp2f(x); }
inline float reciprocal(float x) { return 1.0f / x; }

// `red.global.add.v2.f32`, whose pairs are aligned.
inline void add_pair(float* to, float x, float y) {
    float2* pair = (float2*)to;
    atomicAdd(&pair->x, x), atomicAdd(&pair->y, y);
}

inline u32 smem_address(const void* pointer) {
    size_t address = (const unsigned char*)pointer - machine::shared_memory;
    if (address >= machine::SHARED_BYTES) machine::forbidden("the address of what is not in shared memory");
    return (u32)address;
}

// Nothing that can be seen.
inline void prefetch(const void*) {}

inline void cp_async16(u32 to, const void* from, bool valid) {
    if ((size_t)from % 16) machine::forbidden("a copy from where nothing is aligned");
    machine::Copy copy = {to, from, valid};
    if (machine::copies_at_once()) copy.make();
    else machine::lane().copies.add(copy);
}
inline void cp_async_commit() { machine::lane().copies.commit(); }
template <int PENDING>
inline void cp_async_wait() {
    for (const machine::Copy& copy : machine::lane().copies.due(PENDING)) copy.make();
}

// Lane 8 i + r says where row r of matrix i begins: eight numbers.
inline void load_matrices(u32* const (&to)[4], u32 address, bool transposed) {
    const machine::Offer* offers = machine::exchange({transposed ? "ldmatrix.trans" : "ldmatrix", {address}});
    u32 lane = threadIdx.x % 32, group = lane / 4, pair = lane % 4 * 2;
    for (u32 matrix = 0; matrix < 4; matrix++) {
        auto number = [&](u32 row, u32 column) -> u32 {
            return ((const u16*)machine::at_shared(offers[8 * matrix + row].word[0], 16))[column];
        };
        *to[matrix] = transposed ? number(pair, group) | number(pair + 1, group) << 16
                                 : number(group, pair) | number(group, pair + 1) << 16;
    }
}
inline void ldmatrix_x4(u32& a, u32& b, u32& c, u32& d, u32 address) { load_matrices({&a, &b, &c, &d}, address, false); }
inline void ldmatrix_x4_trans(u32& a, u32& b, u32& c, u32& d, u32 address) {
    load_matrices({&a, &b, &c, &d}, address, true);
}

// d[16, 8] += a[16, 16] * b[16, 8]. Registers 0 to 3 of a lane are parts of a, 4 and 5 of b.
inline void mma16816(float (&d)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
    const machine::Offer* offers = machine::exchange({"mma", {a0, a1, a2, a3, b0, b1}});
    u32 lane = threadIdx.x % 32;
    for (u32 i = 0; i < 4; i++) {
        u32 row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        for (u32 k = 0; k < 16; k++) {
            u32 pair = k % 8 / 2, far = k / 8;
            float a = half_of(offers[row % 8 * 4 + pair].word[row / 8 + 2 * far], k % 2);
            float b = half_of(offers[column * 4 + pair].word[4 + far], k % 2);
            d[i] += a * b;
        }
    }
}
