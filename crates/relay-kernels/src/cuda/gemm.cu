// Matrix products of bf16 operands on the tensor cores of Hopper: sums in f32, and what follows a product done on its way to
// memory.
//
// Of three warpgroups of a block one loads and two multiply. A block takes COLUMNS columns of the result and goes on from rows
// to rows, so that what is loaded next arrives while results are written. With RESIDENT, its columns of the right operand stay
// in shared memory, and a warpgroup computes 64 rows while the other one writes those before; else both compute 128 together,
// and slices of both operands come in.
//
// Slices of 64 of the inner dimension come in by `cp.async`, into the layout that `wgmma` reads without bank conflicts: rows of
// 128 bytes, whose eight chunks of 16 bytes are permuted by the row's number.
//
// Defines: COLUMNS, 128 or 256; RESIDENT, for an inner dimension of at most 256. Of the kernels only the one is compiled that is
// asked for.

static constexpr u32 THREADS = 3 * WARPGROUP;
static constexpr u32 TOGETHER = RESIDENT ? 1 : 2;
static constexpr u32 LEFT_BYTES = TOGETHER * PIECE_BYTES;
static constexpr u32 RIGHT_BYTES = COLUMNS * SLICE * 2;
static constexpr u32 STAGES = RESIDENT ? 12 : 4;
static constexpr u32 STAGE_BYTES = LEFT_BYTES + (RESIDENT ? 0 : RIGHT_BYTES);
static constexpr u32 RING_BYTES = STAGES * STAGE_BYTES;
// Then the barriers.
static constexpr u32 BARRIERS = RING_BYTES + (RESIDENT ? 4 * RIGHT_BYTES : 0);
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
    const u16* from = matrix + slice * SLICE + chunk * 8;
    to += row * 128 + ((chunk ^ (row & 7)) << 4);
#pragma unroll 8
    for (u32 i = 0; i < COUNT; i += 16) {
        bool valid = first + row + i < rows;
        cp_async16(to + i * 128, from + (u64)(valid ? first + row + i : 0) * k, valid);
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
    u32 slices = size.k / SLICE;
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
#pragma unroll
            for (int step = 0; step < SLICE / 16; step++)
                wgmma<0>(sum, left + 2 * step, right + 2 * step, slice > 0 || step > 0);
        });
        if (RESIDENT) ring.advance(slices);
        finish(sum, row, share.column);
    }
    end(share.column);
}

// The first of the two rows, eight apart, that a thread holds of a warpgroup's 64.
__device__ __forceinline__ u32 line_of(u32 row) {
    return row + (threadIdx.x >> 5 & 3) * 16 + ((threadIdx.x & 31) >> 2);
}

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

// The other way round: four numbers in a row, of which `exchange` makes those at the thread's places.
__device__ __forceinline__ uint2 load_sixteen(const u16* from, Sizes size, u32 line, u32 group) {
    u32 lane = threadIdx.x & 31, at = group + (lane & 1) * 8 + (lane & 2) * 2;
    bool valid = line < size.m && at < size.n;
    return valid ? *(const uint2*)(from + (u64)line * size.n + at) : make_uint2(0, 0);
}
__device__ __forceinline__ void exchange(uint2 pair, u32& first, u32& second) {
    bool odd = threadIdx.x & 1;
    u32 other = __shfl_xor_sync(0xffffffffu, odd ? pair.x : pair.y, 1);
    first = odd ? other : pair.x, second = odd ? pair.y : other;
}

// What a thread holds of 16 columns in one of its two rows, for all such: `each(line, group, a, b, c, d)` gets two numbers
// at its place in the first eight columns and two in the second.
template <typename Each>
__device__ __forceinline__ void each_four(float (&sum)[HELD], u32 row, u32 column, Each each) {
    u32 line = line_of(row);
#pragma unroll
    for (int i = 0; i < COLUMNS / 8; i += 2) {
#pragma unroll
        for (int low = 0; low < 2; low++) {
            int at = 4 * i + 2 * low;
            each(line + 8 * low, column + 8 * i, sum[at], sum[at + 1], sum[at + 4], sum[at + 5]);
        }
    }
}

// Brings 64 rows of a matrix [m, n] closer that are read after the product.
template <typename Number>
__device__ __forceinline__ void prefetch_tile(const Number* matrix, Sizes size, u32 row, u32 column) {
    constexpr u32 PER_LINE = 128 / sizeof(Number), LINES = COLUMNS / PER_LINE;
    for (u32 at = threadIdx.x & (WARPGROUP - 1); at < ROWS * LINES; at += WARPGROUP) {
        u32 line = row + at / LINES, first = column + at % LINES * PER_LINE;
        if (line < size.m && first < size.n) prefetch(matrix + (u64)line * size.n + first);
    }
}

__device__ __forceinline__ void nothing(u32, u32) {}
__device__ __forceinline__ void no_end(u32) {}

#ifdef KERNEL_gemm_store
extern "C" __global__ void __launch_bounds__(THREADS, 1)
gemm_store(const u16* a, const u16* b, u16* c, const __grid_constant__ Sizes size) {
    auto store = [&](float(&sum)[HELD], u32 row, u32 column) {
        each_four(sum, row, column, [&](u32 line, u32 group, float& a, float& b, float& c_, float& d) {
            store_sixteen(c, size, line, group, pack_bf16(a, b), pack_bf16(c_, d));
        });
    };
    multiply(a, b, size, nothing, store, no_end);
}
#endif

// c = scale * (a * b), in f32; the scale is a number on the device.
#ifdef KERNEL_gemm_scaled
extern "C" __global__ void __launch_bounds__(THREADS, 1)
gemm_scaled(const u16* a, const u16* b, const float* scale, float* c, const __grid_constant__ Sizes size) {
    float factor = *scale;
    auto store = [&](float(&sum)[HELD], u32 row, u32 column) {
        u32 line = line_of(row), first = column + (threadIdx.x & 3) * 2;
#pragma unroll
        for (int i = 0; i < HELD / 2; i++) {
            u32 low = line + i % 2 * 8, at = first + i / 2 * 8;
            if (low >= size.m || at >= size.n) continue;
            *(float2*)(c + (u64)low * size.n + at) = make_float2(sum[2 * i] * factor, sum[2 * i + 1] * factor);
        }
    };
    multiply(a, b, size, nothing, store, no_end);
}
#endif

// after = gelu(a * b + bias), and `slope` = its derivative there, which comes nearly for free here and is all that the
// backward pass needs. Without KEEP only the former is written.
#ifdef KERNEL_gemm_gelu
extern "C" __global__ void __launch_bounds__(THREADS, 1)
gemm_gelu(const u16* a, const u16* b, const float* bias, u16* slope, u16* after, const __grid_constant__ Sizes size) {
    auto store = [&](float(&sum)[HELD], u32 row, u32 column) {
        u32 line = line_of(row), first = column + (threadIdx.x & 3) * 2;
        // Four groups of columns of both rows at a time, so that there is always something to do.
#pragma unroll
        for (int some = 0; some < COLUMNS / 8; some += 4) {
            [[maybe_unused]] u32 values[2][4], slopes[2][4];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                u32 at = first + (some + i) * 8;
                float2 shift = at < size.n ? __ldg((const float2*)(bias + at)) : float2{0.0f, 0.0f};
#pragma unroll
                for (int low = 0; low < 2; low++) {
                    float* held = sum + 4 * (some + i) + 2 * low;
                    float2 steep;
                    float x = gelu(held[0] + shift.x, steep.x), y = gelu(held[1] + shift.y, steep.y);
                    values[low][i] = pack_bf16(x, y), slopes[low][i] = pack_bf16(steep.x, steep.y);
                }
            }
#pragma unroll
            for (int low = 0; low < 2; low++) {
#pragma unroll
                for (int i = 0; i < 4; i += 2) {
                    u32 group = column + (some + i) * 8;
#if KEEP
                    store_sixteen(slope, size, line + 8 * low, group, slopes[low][i], slopes[low][i + 1]);
#endif
                    store_sixteen(after, size, line + 8 * low, group, values[low][i], values[low][i + 1]);
                }
            }
        }
    };
    multiply(a, b, size, nothing, store, no_end);
}
#endif

struct ResidualSizes {
    Sizes size;
    Mask mask;
};

// out = residual + mask * (a * b + bias), in f32.
#ifdef KERNEL_gemm_residual
extern "C" __global__ void __launch_bounds__(THREADS, 1)
gemm_residual(const u16* a, const u16* b, const float* bias, const float* residual, float* out,
              const __grid_constant__ ResidualSizes p) {
    Sizes size = p.size;
    auto prepare = [&](u32 row, u32 column) { prefetch_tile(residual, size, row, column); };
    auto store = [&](float(&sum)[HELD], u32 row, u32 column) {
        u32 line = line_of(row), first = column + (threadIdx.x & 3) * 2;
        u64 places[2] = {(u64)line * size.n + first, (u64)(line + 8) * size.n + first};
        // What is read is asked for many at a time: one by one each would wait for the memory.
        constexpr int MANY = 16;
#pragma unroll
        for (int some = 0; some < HELD / 2; some += MANY) {
            float2 before[MANY], shift[MANY / 2];
#pragma unroll
            for (int i = 0; i < MANY; i++) {
                u32 next = (some + i) / 2 * 8;
                if (line + i % 2 * 8 < size.m && first + next < size.n)
                    before[i] = *(const float2*)(residual + places[i % 2] + next);
                shift[i / 2] = BIAS && first + next < size.n ? *(const float2*)(bias + first + next) : float2{0.0f, 0.0f};
            }
#pragma unroll
            for (int i = 0; i < MANY; i++) {
                u32 next = (some + i) / 2 * 8;
                if (line + i % 2 * 8 >= size.m || first + next >= size.n) continue;
                float x = sum[2 * (some + i)] + shift[i / 2].x, y = sum[2 * (some + i) + 1] + shift[i / 2].y;
                u32 index = (u32)places[i % 2] + next;
                if (p.mask.drops()) x *= mask_factor(p.mask, index), y *= mask_factor(p.mask, index + 1);
                *(float2*)(out + places[i % 2] + next) = make_float2(before[i].x + x, before[i].y + y);
            }
        }
    };
    multiply(a, b, size, prepare, store, no_end);
}
#endif

// Sums of a warpgroup's columns over rows, from tile to tile: of 16 that a lane holds it keeps two.
struct ColumnSums {
    float kept[COLUMNS / 64][2];

    __device__ __forceinline__ ColumnSums() {
#pragma unroll
        for (int part = 0; part < COLUMNS / 64; part++) kept[part][0] = kept[part][1] = 0.0f;
    }
    // Of two halves of what a lane has, it keeps one and gives the other to a lane that has the same columns.
    template <int COUNT>
    static __device__ __forceinline__ void halve(float (&x)[COUNT], float (&half)[COUNT / 2], u32 with) {
        bool upper = threadIdx.x & with;
#pragma unroll
        for (int i = 0; i < COUNT / 2; i++) {
            float given = upper ? x[i] : x[i + COUNT / 2], own = upper ? x[i + COUNT / 2] : x[i];
            half[i] = own + __shfl_xor_sync(0xffffffffu, given, with);
        }
    }
    // The numbers of a tile, as a thread holds them.
    __device__ __forceinline__ void add(const float (&sum)[HELD]) {
#pragma unroll
        for (int part = 0; part < COLUMNS / 64; part++) {
            float all[16], half[8], quarter[4], eighth[2];
#pragma unroll
            for (int i = 0; i < 16; i++) {
                const float* held = sum + part * 32 + i / 2 * 4 + i % 2;
                all[i] = held[0] + held[2];
            }
            halve(all, half, 16);
            halve(half, quarter, 8);
            halve(quarter, eighth, 4);
            kept[part][0] += eighth[0], kept[part][1] += eighth[1];
        }
    }
    __device__ __forceinline__ void add_to(float* totals, u32 column, u32 n) const {
        u32 lane = threadIdx.x & 31, group = (lane >> 4) * 4 + (lane >> 3 & 1) * 2 + (lane >> 2 & 1);
        u32 first = column + group * 8 + (lane & 3) * 2;
#pragma unroll
        for (int part = 0; part < COLUMNS / 64; part++) {
            if (first + part * 64 >= n) continue;
            atomicAdd(totals + first + part * 64, kept[part][0]);
            atomicAdd(totals + first + part * 64 + 1, kept[part][1]);
        }
    }
};

// out = a * b * slope; `sums` gets the sums of its columns added.
#ifdef KERNEL_gemm_dgelu
extern "C" __global__ void __launch_bounds__(THREADS, 1)
gemm_dgelu(const u16* a, const u16* b, const u16* slope, u16* out, float* sums, const __grid_constant__ Sizes size) {
    ColumnSums columns;
    auto prepare = [&](u32 row, u32 column) { prefetch_tile(slope, size, row, column); };
    auto store = [&](float(&sum)[HELD], u32 row, u32 column) {
        u32 line = line_of(row);
        constexpr int MANY = 16;
#pragma unroll
        for (int some = 0; some < COLUMNS / 8; some += MANY) {
            uint2 loaded[MANY];
#pragma unroll
            for (int i = 0; i < MANY; i++)
                loaded[i] = load_sixteen(slope, size, line + i % 2 * 8, column + (some + i / 2 * 2) * 8);
#pragma unroll
            for (int i = 0; i < MANY; i++) {
                u32 left, right;
                exchange(loaded[i], left, right);
                float* held = sum + 4 * (some + i / 2 * 2) + i % 2 * 2;
                held[0] *= low_bf16(left), held[1] *= high_bf16(left);
                held[4] *= low_bf16(right), held[5] *= high_bf16(right);
                u32 group = column + (some + i / 2 * 2) * 8;
                store_sixteen(out, size, line + i % 2 * 8, group, pack_bf16(held[0], held[1]), pack_bf16(held[4], held[5]));
            }
        }
        columns.add(sum);
    };
    multiply(a, b, size, prepare, store, [&](u32 column) { columns.add_to(sums, column, size.n); });
}
#endif
