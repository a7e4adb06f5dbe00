// Matrix products on the tensor cores of Hopper, of operands as rows.cuh has them: sums in f32, and what follows a product done
// on its way to memory.
//
// Of three warpgroups of a block one loads and two multiply. A block takes COLUMNS columns of the result and goes on from rows
// to rows, so that what is loaded next arrives while results are written. With RESIDENT, its columns of the right operand stay
// in shared memory, and a warpgroup computes 64 rows while the other one writes those before; else both compute 128 together,
// and slices of both operands come in.
//
// Slices of 64 of the inner dimension, or with SPLIT of 32, come in by `cp.async`, into the layout that `wgmma` reads without
// bank conflicts: rows of 128 bytes, whose eight chunks of 16 bytes are permuted by the row's number.
//
// Stands behind hopper.cuh in front of gemm.cu.
//
// Defines: COLUMNS, 128 or 256; RESIDENT, for an inner dimension of at most 256, with SPLIT only for 128 columns.

static constexpr u32 THREADS = 3 * WARPGROUP;
static constexpr u32 TOGETHER = RESIDENT ? 1 : 2;
static constexpr u32 LEFT_BYTES = TOGETHER * PIECE_BYTES;
static constexpr u32 RIGHT_BYTES = COLUMNS * SLICE * 2;
static constexpr u32 STAGES = RESIDENT ? 8 : 4;
static constexpr u32 STAGE_BYTES = LEFT_BYTES + (RESIDENT ? 0 : RIGHT_BYTES);
static constexpr u32 RING_BYTES = STAGES * STAGE_BYTES;
// Then what stays, a place for each warp that writes results, and the barriers.
static constexpr u32 PLACES = RING_BYTES + (RESIDENT ? 256 / DEPTH * RIGHT_BYTES : 0);
static constexpr u32 PITCH = 2 * 128 + 16;
static constexpr u32 PLACE_BYTES = 16 * PITCH;
static constexpr u32 BARRIERS = PLACES + 8 * PLACE_BYTES;
static constexpr u32 SHARED_BYTES = BARRIERS + 16 * STAGES;
static_assert(SHARED_BYTES <= 227 * 1024, "what a block may have");
// Of a thread that multiplies.
static constexpr u32 HELD = COLUMNS / 2;

struct Sizes {
    u32 m, n, k;
};

// A slice of COUNT rows from `first` on of a row-major matrix of `rows` x `k` goes to shared memory.
template <u32 COUNT>
__device__ __forceinline__ void load_rows(u32 to, const u16* matrix, u32 first, u32 rows, u32 k, u32 slice) {
    u32 thread = threadIdx.x & (WARPGROUP - 1);
    // Of a thread's pieces the rows differ by 16, and so the chunks are the same.
    u32 row = thread >> 3, chunk = thread & 7;
    const u16* from = matrix + slice * DEPTH + chunk * 8 % DEPTH + chunk * 8 / DEPTH * k;
    to += row * 128 + ((chunk ^ (row & 7)) << 4);
#pragma unroll 8
    for (u32 i = 0; i < COUNT; i += 16) {
        bool valid = first + row + i < rows;
        cp_async16(to + i * 128, from + (u64)(valid ? first + row + i : 0) * (PARTS * k), valid);
    }
}

// The tiles of rows that a block takes.
struct Share {
    u32 first, step, tiles, column;

    __device__ __forceinline__ explicit Share(Sizes size) {
        u32 across = (size.n + COLUMNS - 1) / COLUMNS, down = (size.m + TOGETHER * ROWS - 1) / (TOGETHER * ROWS);
        column = blockIdx.x % across * COLUMNS, first = blockIdx.x / across, step = gridDim.x / across;
        tiles = first < down ? (down - first + step - 1) / step : 0;
    }
    __device__ __forceinline__ u32 row(u32 tile) const { return (first + tile * step) * TOGETHER * ROWS; }
};

// Computes the block's share of A[m, k] * B[n, k]^T. A warpgroup that multiplies calls `before(row, column)` and
// `finish(sum, row, column)` for each 64 rows of it, and `end(column)`.
template <typename Before, typename Finish, typename End>
__device__ __forceinline__ void multiply(const u16* a, const u16* b, Sizes size, Before before, Finish finish, End end) {
    u32 base = smem_address(shared), group = threadIdx.x / WARPGROUP;
    Ring<STAGES, STAGE_BYTES> ring(base, base + BARRIERS);
    if (threadIdx.x == 0) ring.init(4, 4 * TOGETHER);
    __syncthreads();
    Share share(size);
    u32 slices = size.k / DEPTH;
    if (group == 2) {
        fewer_registers<56>();
        u32 tile = 0, slice = 0;
        load_slices(ring, share.tiles * slices, [&](u32 number, u32 place) {
            load_rows<TOGETHER * ROWS>(place, a, share.row(tile), size.m, size.k, slice);
            // What stays is loaded once, with the first rows.
            if (!RESIDENT || number < slices) {
                u32 right = RESIDENT ? base + RING_BYTES + slice * RIGHT_BYTES : place + LEFT_BYTES;
                load_rows<COLUMNS>(right, b, share.column, size.n, size.k, slice);
            }
            if (++slice == slices) slice = 0, tile++;
        });
        return;
    }
    more_registers<224>();
    float sum[HELD];
    if (RESIDENT) ring.advance(group * slices);
    for (u32 tile = RESIDENT ? group : 0; tile < share.tiles; tile += RESIDENT ? 2 : 1) {
        u32 row = share.row(tile) + (RESIDENT ? 0 : group * ROWS);
        before(row, share.column);
        // Where both multiply the same slices one has work while the other waits.
        multiply_slices<RESIDENT>(ring, sum, slices, [&](float(&sum)[HELD], u32 place, u32 slice) {
            u64 left = descriptor(place + (RESIDENT ? 0 : group * PIECE_BYTES), 16, 1024);
            u64 right = descriptor(RESIDENT ? base + RING_BYTES + slice * RIGHT_BYTES : place + LEFT_BYTES, 16, 1024);
            multiply_slice<0>(sum, left, right, 2, slice > 0);
        });
        if (RESIDENT) ring.advance(slices);
        finish(sum, row, share.column);
    }
    end(share.column);
}

// Results go to memory by way of a warp's own place in shared memory, so that whole lines are read and written: 16 rows of 256
// bytes, PITCH apart, which is an odd number of 16 bytes against conflicts of banks.
struct Place {
    u32 lane = threadIdx.x & 31;
    unsigned char* rows = shared + PLACES + (threadIdx.x >> 5) * PLACE_BYTES;

    // The first of the two rows, eight apart, that a thread holds of its warp's 16, and its first column of each eight.
    __device__ __forceinline__ u32 row() const { return lane >> 2; }
    __device__ __forceinline__ u32 column() const { return (lane & 3) * 2; }
    template <typename Pair>
    __device__ __forceinline__ Pair& at(u32 row, u32 byte) const {
        return *(Pair*)(rows + row * PITCH + byte);
    }
    // Writes what is in the place from a byte on, COUNT columns of bf16 of its rows, to a part of the matrix [m, n].
    template <u32 COUNT>
    __device__ __forceinline__ void write(u16* out, Sizes size, u32 first_row, u32 first_column, u32 byte) const {
        constexpr u32 LANES = COUNT / 8;
        __syncwarp();
        u32 column = first_column + lane % LANES * 8;
#pragma unroll
        for (u32 i = 0; i < 16; i += 32 / LANES) {
            u32 row = i + lane / LANES;
            uint4 eight = at<uint4>(row, byte + lane % LANES * 16);
            if (first_row + row < size.m && column < size.n)
                *(uint4*)(out + (u64)(first_row + row) * (PARTS * size.n) + column) = eight;
        }
    }
    // Has FETCHED columns of such a matrix brought here in the background, with SPLIT of both parts.
    static constexpr u32 FETCHED = 128 / PARTS;
    __device__ __forceinline__ void fetch(const u16* from, Sizes size, u32 first_row, u32 first_column) const {
        u32 chunk = lane % 16, column = first_column + chunk * 8 % FETCHED;
        from += chunk * 8 / FETCHED * size.n;
#pragma unroll
        for (u32 i = 0; i < 16; i += 2) {
            u32 row = i + lane / 16;
            bool valid = first_row + row < size.m && column < size.n;
            const u16* eight = from + (valid ? (u64)(first_row + row) * (PARTS * size.n) + column : 0);
            cp_async16(smem_address(&at<uint4>(row, chunk * 16)), eight, valid);
        }
        cp_async_commit();
    }
#if SPLIT
    // Puts 64 columns of the sums from `part` on here, and what rounding leaves of them behind, and writes both.
    __device__ __forceinline__ void write_split(const float (&sum)[HELD], u32 part, u16* out, Sizes size, u32 first_row,
                                                u32 first_column) const {
        __syncwarp();
#pragma unroll
        for (u32 i = 0; i < 16; i++) {
            const float* held = sum + part / 2 + 2 * i;
            u32 byte = i / 2 * 16 + 2 * column(), pair = pack_bf16(held[0], held[1]);
            at<u32>(row() + i % 2 * 8, byte) = pair;
            at<u32>(row() + i % 2 * 8, byte + 128) = left_over(pair, held[0], held[1]);
        }
        write<64>(out, size, first_row, first_column + part, 0);
        write<64>(out + size.n, size, first_row, first_column + part, 128);
    }
#endif
    // Of f32 a place has room for 64 columns: the sums of those from `part` on are put there. A lane takes four columns of
    // every second row.
    __device__ __forceinline__ void put(const float (&sum)[HELD], int part) const {
        __syncwarp();
#pragma unroll
        for (int i = 0; i < 16; i++)
            at<float2>(row() + i % 2 * 8, i / 2 * 32 + 4 * column()) =
                make_float2(sum[part / 2 + 2 * i], sum[part / 2 + 2 * i + 1]);
        __syncwarp();
    }
    __device__ __forceinline__ float4 take(u32 i) const { return at<float4>(2 * i + lane / 16, lane % 16 * 16); }
};

// The first row of a warp's 16 in its warpgroup's 64.
__device__ __forceinline__ u32 of_warp(u32 row) { return row + (threadIdx.x >> 5 & 3) * 16; }

// Brings 64 rows of a matrix [m, n] closer that are read after the product.
template <u32 WIDTH, typename Number>
__device__ __forceinline__ void prefetch_tile(const Number* matrix, Sizes size, u32 row, u32 column) {
    constexpr u32 PER_LINE = 128 / sizeof(Number), LINES = WIDTH / PER_LINE;
    for (u32 at = threadIdx.x & (WARPGROUP - 1); at < ROWS * LINES; at += WARPGROUP) {
        u32 line = row + at / LINES, first = column + at % LINES * PER_LINE;
        if (line < size.m && first < size.n) prefetch(matrix + (u64)line * size.n + first);
    }
}

__device__ __forceinline__ void nothing(u32, u32) {}
__device__ __forceinline__ void no_end(u32) {}
