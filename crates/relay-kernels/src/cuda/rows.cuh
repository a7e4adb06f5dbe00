// Operands of products in memory: rows of bf16. With SPLIT a row of n numbers is n of bf16, and then n more: what rounding has
// left of each, rounded. Their sums have 16 bits of the numbers.
//
// Stands behind common.cuh in front of the files that need it.

#ifndef SPLIT
#define SPLIT 0
#endif

// From one number of a column to the next there are so many times a row's numbers.
static constexpr u32 PARTS = SPLIT ? 2 : 1;

// Two neighbours in a row of n numbers.
__device__ __forceinline__ void put_halves(u16* to, u32 n, float x, float y) {
    u32 pair = pack_bf16(x, y);
    *(u32*)to = pair;
#if SPLIT
    *(u32*)(to + n) = left_over(pair, x, y);
#endif
}
__device__ __forceinline__ float2 get_halves(const u16* from, u32 n) {
    u32 pair = *(const u32*)from;
    float2 both = make_float2(low_bf16(pair), high_bf16(pair));
#if SPLIT
    u32 rest = *(const u32*)(from + n);
    both.x += low_bf16(rest), both.y += high_bf16(rest);
#endif
    return both;
}
