// What the kernels of attention share that take a head by tiles (flash attention), as it is too long for one block.
//
// A block owns TILE rows of a head: queries in forward and in the half of backward that gives dq, keys in the other half,
// which gives dk and dv. The rows that they meet, keys or queries, pass by a tile at a time, the next of which comes in
// while one is worked on. Tiles in which nothing is visible are left out. Warp w owns the rows 16 w to 16 w + 15 of the
// block's.
//
// Queries and keys are read many times, so rotate_heads has rotated them where they are: qkv holds q, k and v.
//
// Defines: WITH_SLOPES and WITH_DROPOUT, 0 or 1, which say the same as ALIBI and DROPOUT.
// Launch: batch * heads * ceil(width / TILE) blocks of THREADS.

#ifndef WITH_SLOPES
#define WITH_SLOPES 0
#endif
#ifndef WITH_DROPOUT
#define WITH_DROPOUT 0
#endif

#define THREADS 128
// Blocks for which a multiprocessor shall have registers: as many as its shared memory has room for.
#define AT_ONCE (SPLIT ? 2 : 4)
#define TILE 64
// Numbers of a tile in shared memory, and its strips of 16 rows.
#define ROOM (TILE * PITCH)
#define STRIPS (TILE / 16)

// Copies a tile to shared memory in the background, from row `first` of a head on; zeros beyond width.
__device__ __forceinline__ void load_tile(u16* to, const u16* from, u32 stride, u32 first, u32 width) {
#pragma unroll
    for (int turn = 0; turn < TILE * PIECES / THREADS; ++turn) {
        u32 unit = turn * THREADS + threadIdx.x;
        u32 row = unit / PIECES, column = unit % PIECES * 8;
        bool valid = first + row < width;
#pragma unroll
        for (int half = 0; half < PARTS; ++half)
            cp_async16(smem_address(to + row * PITCH + column + half * HD),
                       from + (valid ? (first + row) * stride : 0) + column + half * (stride / 2), valid);
    }
}

// Calls `each(number, row, column, half)` for what the lane holds of 16 x 16 scores, with its place in them; `half` says
// which of the lane's two rows it is.
template <typename Each>
__device__ __forceinline__ void each_number(float (&scores)[2][4], int lane, Each each) {
#pragma unroll
    for (int i = 0; i < 8; ++i)
        each(scores[i / 4][i % 4], lane / 4 + i / 2 % 2 * 8, 2 * (lane % 4) + i / 4 * 8 + i % 2, i / 2 % 2);
}

// Of a block: its head, the first of its rows, and where the head begins in memory.
struct Place {
    u32 batch, head, tiles, first, row_stride;
    u64 qkv, out, numbers, bits;
};
__device__ __forceinline__ Place place_of(const AttentionParams& p, bool last_first) {
    const u32 tiles = (p.width + TILE - 1) / TILE;
    const u32 index = blockIdx.x / tiles, tile = blockIdx.x % tiles;
    Place place;
    place.batch = index / p.heads, place.head = index % p.heads, place.tiles = tiles;
    place.first = (last_first ? tiles - 1 - tile : tile) * TILE, place.row_stride = p.heads * HD;
    const u64 rows = (u64)place.batch * p.width;
    place.qkv = rows * 3 * PARTS * place.row_stride + place.head * HD;
    place.out = rows * PARTS * place.row_stride + place.head * HD;
    place.numbers = (u64)index * p.width;
    place.bits = (u64)index * tiles * tiles * THREADS;
    return place;
}
