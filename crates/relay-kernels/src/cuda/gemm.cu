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
static constexpr u32 STAGES = RESIDENT ? 8 : 4;
static constexpr u32 STAGE_BYTES = LEFT_BYTES + (RESIDENT ? 0 : RIGHT_BYTES);
static constexpr u32 RING_BYTES = STAGES * STAGE_BYTES;
// Then what stays, a place for each warp that writes results, and the barriers.
static constexpr u32 PLACES = RING_BYTES + (RESIDENT ? 4 * RIGHT_BYTES : 0);
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
    // Writes what is in the place from a byte on, COUNT columns of bf16 of its rows, to the matrix [m, n].
    template <u32 COUNT>
    __device__ __forceinline__ void write(u16* out, Sizes size, u32 first_row, u32 first_column, u32 byte) const {
        constexpr u32 LANES = COUNT / 8;
        __syncwarp();
        u32 column = first_column + lane % LANES * 8;
#pragma unroll
        for (u32 i = 0; i < 16; i += 32 / LANES) {
            u32 row = i + lane / LANES;
            uint4 eight = at<uint4>(row, byte + lane % LANES * 16);
            if (first_row + row < size.m && column < size.n) *(uint4*)(out + (u64)(first_row + row) * size.n + column) = eight;
        }
    }
    // Has 128 columns of bf16 of such a matrix brought here in the background.
    __device__ __forceinline__ void fetch(const u16* from, Sizes size, u32 first_row, u32 first_column) const {
        u32 column = first_column + lane % 16 * 8;
#pragma unroll
        for (u32 i = 0; i < 16; i += 2) {
            u32 row = i + lane / 16;
            bool valid = first_row + row < size.m && column < size.n;
            const u16* eight = from + (valid ? (u64)(first_row + row) * size.n + column : 0);
            cp_async16(smem_address(&at<uint4>(row, lane % 16 * 16)), eight, valid);
        }
        cp_async_commit();
    }
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
    Place place;
    auto store = [&](float(&sum)[HELD], u32 row, u32 column) {
#pragma unroll
        for (u32 part = 0; part < COLUMNS; part += 128) {
            __syncwarp();
#pragma unroll
            for (u32 i = 0; i < 32; i++)
                place.at<u32>(place.row() + i % 2 * 8, i / 2 * 16 + 2 * place.column()) =
                    pack_bf16(sum[part / 2 + 2 * i], sum[part / 2 + 2 * i + 1]);
            place.write<128>(c, size, of_warp(row), column + part, 0);
        }
    };
    multiply(a, b, size, nothing, store, no_end);
}
#endif

// c = scale * (a * b), in f32; the scale is a number on the device.
#ifdef KERNEL_gemm_scaled
extern "C" __global__ void __launch_bounds__(THREADS, 1)
gemm_scaled(const u16* a, const u16* b, const float* scale, float* c, const __grid_constant__ Sizes size) {
    float factor = *scale;
    Place place;
    auto store = [&](float(&sum)[HELD], u32 row, u32 column) {
#pragma unroll
        for (u32 part = 0; part < COLUMNS; part += 64) {
            place.put(sum, part);
            u32 line = of_warp(row) + place.lane / 16, at = column + part + place.lane % 16 * 4;
#pragma unroll
            for (u32 i = 0; i < 8; i++) {
                float4 x = place.take(i);
                x = make_float4(x.x * factor, x.y * factor, x.z * factor, x.w * factor);
                if (line + 2 * i < size.m && at < size.n) *(float4*)(c + (u64)(line + 2 * i) * size.n + at) = x;
            }
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
    Place place;
    auto store = [&](float(&sum)[HELD], u32 row, u32 column) {
#pragma unroll
        for (u32 part = 0; part < COLUMNS; part += 64) {
            __syncwarp();
#pragma unroll
            for (u32 i = 0; i < 8; i++) {
                u32 group = i * 8 + place.column(), at = column + part + group;
                float2 shift = at < size.n ? __ldg((const float2*)(bias + at)) : make_float2(0.0f, 0.0f);
#pragma unroll
                for (u32 low = 0; low < 2; low++) {
                    const float* held = sum + part / 2 + 4 * i + 2 * low;
                    float2 steep;
                    float x = gelu(held[0] + shift.x, steep.x), y = gelu(held[1] + shift.y, steep.y);
                    place.at<u32>(place.row() + 8 * low, 2 * group) = pack_bf16(x, y);
#if KEEP
                    place.at<u32>(place.row() + 8 * low, 128 + 2 * group) = pack_bf16(steep.x, steep.y);
#endif
                }
            }
            place.write<64>(after, size, of_warp(row), column + part, 0);
#if KEEP
            place.write<64>(slope, size, of_warp(row), column + part, 128);
#endif
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
    Place place;
    auto prepare = [&](u32 row, u32 column) { prefetch_tile(residual, size, row, column); };
    auto store = [&](float(&sum)[HELD], u32 row, u32 column) {
#pragma unroll
        for (u32 part = 0; part < COLUMNS; part += 64) {
            u32 line = of_warp(row) + place.lane / 16, at = column + part + place.lane % 16 * 4;
            u64 first = (u64)line * size.n + at;
            // All that is read is asked for at once: one by one each would wait for the memory.
            float4 before[8], shift = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll
            for (u32 i = 0; i < 8; i++)
                if (line + 2 * i < size.m && at < size.n) before[i] = *(const float4*)(residual + first + 2 * i * size.n);
#if BIAS
            if (at < size.n) shift = *(const float4*)(bias + at);
#endif
            place.put(sum, part);
#pragma unroll
            for (u32 i = 0; i < 8; i++) {
                if (line + 2 * i >= size.m || at >= size.n) continue;
                float4 x = place.take(i);
                x.x += shift.x, x.y += shift.y, x.z += shift.z, x.w += shift.w;
                u64 index = first + 2 * i * size.n;
                if (p.mask.drops()) {
                    x.x *= mask_factor(p.mask, (u32)index), x.y *= mask_factor(p.mask, (u32)index + 1);
                    x.z *= mask_factor(p.mask, (u32)index + 2), x.w *= mask_factor(p.mask, (u32)index + 3);
                }
                *(float4*)(out + index) =
                    make_float4(before[i].x + x.x, before[i].y + x.y, before[i].z + x.z, before[i].w + x.w);
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

// out = a * b * slope; `sums` gets the sums of its columns added. A place has room for the slopes of 128 columns.
#if defined(KERNEL_gemm_dgelu) && COLUMNS == 128
extern "C" __global__ void __launch_bounds__(THREADS, 1)
gemm_dgelu(const u16* a, const u16* b, const u16* slope, u16* out, float* sums, const __grid_constant__ Sizes size) {
    ColumnSums columns;
    Place place;
    auto prepare = [&](u32 row, u32 column) {
        __syncwarp();
        place.fetch(slope, size, of_warp(row), column);
    };
    auto store = [&](float(&sum)[HELD], u32 row, u32 column) {
        cp_async_wait<0>();
        __syncwarp();
#pragma unroll
        for (u32 i = 0; i < 32; i++) {
            u32& pair = place.at<u32>(place.row() + i % 2 * 8, i / 2 * 16 + 2 * place.column());
            sum[2 * i] *= low_bf16(pair), sum[2 * i + 1] *= high_bf16(pair);
            pair = pack_bf16(sum[2 * i], sum[2 * i + 1]);
        }
        place.write<128>(out, size, of_warp(row), column, 0);
        columns.add(sum);
    };
    multiply(a, b, size, prepare, store, [&](u32 column) { columns.add_to(sums, column, size.n); });
}
#endif
