// Matrix products on the tensor cores of Hopper: bf16 operands, sums in f32, and what follows a product done on its way
// to memory.
//
// A block computes a tile of 128 x 128 with two warpgroups of 64 rows each. Slices of 64 of the inner dimension come in by
// `cp.async`, three at a time in flight, into the layout that `wgmma` reads without bank conflicts: rows of 128 bytes, whose
// eight chunks of 16 bytes are permuted by the row's number.
//
// Of the kernels only the one is compiled that is asked for.

static constexpr int TILE = 128;
static constexpr int SLICE = 64;
static constexpr int STAGES = 3;
static constexpr int TILE_BYTES = TILE * SLICE * 2;
static constexpr int STAGE_BYTES = 2 * TILE_BYTES;
static constexpr int THREADS = 256;

extern __shared__ __align__(1024) unsigned char shared[];

// A slice of rows `[first, first + 128)` of a row-major matrix of `rows` x `k` goes to shared memory.
__device__ __forceinline__ void load_rows(u32 to, const u16* matrix, u32 first, u32 rows, u32 k, u32 slice) {
#pragma unroll
    for (int i = 0; i < TILE * 8 / THREADS; i++) {
        u32 piece = threadIdx.x + i * THREADS;
        u32 row = piece >> 3, chunk = piece & 7;
        bool valid = first + row < rows;
        const u16* from = matrix + (u64)(valid ? first + row : 0) * k + slice * SLICE + chunk * 8;
        cp_async16(to + row * 128 + ((chunk ^ (row & 7)) << 4), from, valid);
    }
}

// The tile of A[m, k] * B[n, k]^T that begins at `row`, `column`.
__device__ __forceinline__ void multiply(float (&sum)[64], const u16* a, const u16* b, Sizes size, u32 row, u32 column) {
    u32 base = smem_address(shared);
    u32 slices = size.k / SLICE;
#pragma unroll
    for (int i = 0; i < 64; i++) sum[i] = 0.0f;
#pragma unroll
    for (int stage = 0; stage < STAGES - 1; stage++) {
        if (stage < slices) {
            load_rows(base + stage * STAGE_BYTES, a, row, size.m, size.k, stage);
            load_rows(base + stage * STAGE_BYTES + TILE_BYTES, b, column, size.n, size.k, stage);
        }
        cp_async_commit();
    }
    u32 half = threadIdx.x >> 7;
    u32 stage = 0, next = STAGES - 1;
    for (u32 slice = 0; slice < slices; slice++) {
        cp_async_wait<STAGES - 2>();
        shared_fence();
        __syncthreads();
        if (slice + STAGES - 1 < slices) {
            load_rows(base + next * STAGE_BYTES, a, row, size.m, size.k, slice + STAGES - 1);
            load_rows(base + next * STAGE_BYTES + TILE_BYTES, b, column, size.n, size.k, slice + STAGES - 1);
        }
        cp_async_commit();
        u64 left = descriptor(base + stage * STAGE_BYTES + half * (TILE_BYTES / 2), 16, 1024);
        u64 right = descriptor(base + stage * STAGE_BYTES + TILE_BYTES, 16, 1024);
        wgmma_fence();
#pragma unroll
        for (int step = 0; step < SLICE / 16; step++) wgmma<0>(sum, left + 2 * step, right + 2 * step);
        wgmma_commit();
        wgmma_wait();
        stage = stage + 1 == STAGES ? 0 : stage + 1;
        next = next + 1 == STAGES ? 0 : next + 1;
    }
}

// A thread holds of its warp's 16 rows two, eight apart, and of each eight columns two. `finish(row, column, x, y)` gets
// them as pairs.
template <typename Finish>
__device__ __forceinline__ void each_pair(float (&sum)[64], u32 row, u32 column, Finish finish) {
    u32 warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    u32 first = row + warp * 16 + (lane >> 2);
#pragma unroll
    for (int i = 0; i < 16; i++) {
        u32 at = column + i * 8 + (lane & 3) * 2;
        finish(first, at, sum[4 * i], sum[4 * i + 1]);
        finish(first + 8, at, sum[4 * i + 2], sum[4 * i + 3]);
    }
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

#ifdef KERNEL_gemm_store
extern "C" __global__ void __launch_bounds__(THREADS, 2)
gemm_store(const u16* a, const u16* b, u16* c, const __grid_constant__ Sizes size) {
    float sum[64];
    u32 row = blockIdx.y * TILE, column = blockIdx.x * TILE;
    multiply(sum, a, b, size, row, column);
    store(c, sum, size, row, column);
}
#endif

// c = scale * (a * b), in f32; the scale is a number on the device.
#ifdef KERNEL_gemm_scaled
extern "C" __global__ void __launch_bounds__(THREADS, 2)
gemm_scaled(const u16* a, const u16* b, const float* scale, float* c, const __grid_constant__ Sizes size) {
    float sum[64];
    u32 row = blockIdx.y * TILE, column = blockIdx.x * TILE;
    multiply(sum, a, b, size, row, column);
    float factor = *scale;
    each_pair(sum, row, column, [&](u32 line, u32 at, float x, float y) {
        if (line < size.m && at < size.n) *(float2*)(c + (u64)line * size.n + at) = make_float2(x * factor, y * factor);
    });
}
#endif

// after = gelu(a * b + bias), and `slope` = its derivative there, which comes nearly for free here and is all that the
// backward pass needs. Without KEEP only the former is written.
#ifdef KERNEL_gemm_gelu
extern "C" __global__ void __launch_bounds__(THREADS, 2)
gemm_gelu(const u16* a, const u16* b, const float* bias, u16* slope, u16* after, const __grid_constant__ Sizes size) {
    float sum[64];
    u32 row = blockIdx.y * TILE, column = blockIdx.x * TILE;
    multiply(sum, a, b, size, row, column);
    each_four(sum, row, column, [&](u32 line, u32 group, float& a, float& b, float& c, float& d) {
        u32 at = group + (threadIdx.x & 3) * 2;
        float2 left = make_float2(0.0f, 0.0f), right = left;
        if (at < size.n) left = *(const float2*)(bias + at), right = *(const float2*)(bias + at + 8);
        float4 slopes;
        a = gelu(a + left.x, slopes.x), b = gelu(b + left.y, slopes.y);
        c = gelu(c + right.x, slopes.z), d = gelu(d + right.y, slopes.w);
#if KEEP
        store_sixteen(slope, size, line, group, pack_bf16(slopes.x, slopes.y), pack_bf16(slopes.z, slopes.w));
#endif
        store_sixteen(after, size, line, group, pack_bf16(a, b), pack_bf16(c, d));
    });
}
#endif

// Brings the tile of a matrix [m, n] closer that is read after the product.
template <typename Number>
__device__ __forceinline__ void prefetch_tile(const Number* matrix, Sizes size, u32 row, u32 column) {
    constexpr u32 PER_LINE = 128 / sizeof(Number), LINES = TILE / PER_LINE;
    for (u32 at = threadIdx.x; at < TILE * LINES; at += THREADS) {
        u32 line = row + at / LINES, first = column + at % LINES * PER_LINE;
        if (line < size.m && first < size.n) prefetch(matrix + (u64)line * size.n + first);
    }
}

struct ResidualSizes {
    Sizes size;
    Mask mask;
};

// out = residual + mask * (a * b + bias), in f32.
#ifdef KERNEL_gemm_residual
extern "C" __global__ void __launch_bounds__(THREADS, 2)
gemm_residual(const u16* a, const u16* b, const float* bias, const float* residual, float* out,
              const __grid_constant__ ResidualSizes p) {
    float sum[64];
    Sizes size = p.size;
    u32 row = blockIdx.y * TILE, column = blockIdx.x * TILE;
    prefetch_tile(residual, size, row, column);
    multiply(sum, a, b, size, row, column);
    u32 line = row + (threadIdx.x >> 5) * 16 + ((threadIdx.x & 31) >> 2), first = column + (threadIdx.x & 3) * 2;
    // What is read is asked for eight at a time: one by one each would wait for the memory.
#pragma unroll
    for (int some = 0; some < 16; some += 4) {
        float2 before[8];
#pragma unroll
        for (int i = 0; i < 8; i++) {
            u32 at = first + (some + i / 2) * 8, low = line + i % 2 * 8;
            if (low < size.m && at < size.n) before[i] = *(const float2*)(residual + (u64)low * size.n + at);
        }
#pragma unroll
        for (int i = 0; i < 8; i++) {
            u32 at = first + (some + i / 2) * 8, low = line + i % 2 * 8;
            if (low >= size.m || at >= size.n) continue;
            u64 place = (u64)low * size.n + at;
            int held = 4 * (some + i / 2) + i % 2 * 2;
            float x = sum[held], y = sum[held + 1];
#if BIAS
            float2 shift = *(const float2*)(bias + at);
            x += shift.x, y += shift.y;
#endif
            x = before[i].x + x * mask_factor(p.mask, (u32)place);
            y = before[i].y + y * mask_factor(p.mask, (u32)place + 1);
            *(float2*)(out + place) = make_float2(x, y);
        }
    }
}
#endif

// out = a * b * slope; `sums` gets the sums of its columns added.
#ifdef KERNEL_gemm_dgelu
extern "C" __global__ void __launch_bounds__(THREADS, 2)
gemm_dgelu(const u16* a, const u16* b, const u16* slope, u16* out, float* sums, const __grid_constant__ Sizes size) {
    float sum[64];
    u32 row = blockIdx.y * TILE, column = blockIdx.x * TILE;
    prefetch_tile(slope, size, row, column);
    multiply(sum, a, b, size, row, column);
    u32 lane = threadIdx.x & 31;
    u32 line = row + (threadIdx.x >> 5) * 16 + (lane >> 2);
#pragma unroll
    for (int some = 0; some < 16; some += 8) {
        uint2 loaded[8];
#pragma unroll
        for (int i = 0; i < 8; i++) loaded[i] = load_sixteen(slope, size, line + i % 2 * 8, column + (some + i / 2 * 2) * 8);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            u32 left, right;
            exchange(loaded[i], left, right);
            float* held = sum + 4 * (some + i / 2 * 2) + i % 2 * 2;
            held[0] *= low_bf16(left), held[1] *= high_bf16(left);
            held[4] *= low_bf16(right), held[5] *= high_bf16(right);
            u32 group = column + (some + i / 2 * 2) * 8;
            store_sixteen(out, size, line + i % 2 * 8, group, pack_bf16(held[0], held[1]), pack_bf16(held[4], held[5]));
        }
    }
    float* columns = (float*)shared;
    __syncthreads();
    if (threadIdx.x < TILE) columns[threadIdx.x] = 0.0f;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 16; i++) {
        float x = sum[4 * i] + sum[4 * i + 2], y = sum[4 * i + 1] + sum[4 * i + 3];
#pragma unroll
        for (int step = 4; step < 32; step <<= 1) {
            x += __shfl_xor_sync(0xffffffffu, x, step);
            y += __shfl_xor_sync(0xffffffffu, y, step);
        }
        if (lane < 4) {
            atomicAdd(columns + i * 8 + lane * 2, x);
            atomicAdd(columns + i * 8 + lane * 2 + 1, y);
        }
    }
    __syncthreads();
    if (threadIdx.x < TILE && column + threadIdx.x < size.n) atomicAdd(sums + column + threadIdx.x, columns[threadIdx.x]);
}
#endif

struct GradientSizes {
    // Rows of both operands, columns of either, rows that a block takes; of the right operand the columns from one row to
    // the next, and the first one that counts.
    u32 rows, i, j, rows_per_split, stride, offset;
};

// A slice of 64 rows and 128 columns, for a product over rows: blocks of 64 columns, in each a line of 128 bytes a row.
__device__ __forceinline__ void load_columns(u32 to, const u16* matrix, u32 first_row, u32 end, u32 stride, u32 first,
                                             u32 columns) {
#pragma unroll
    for (int i = 0; i < TILE * 8 / THREADS; i++) {
        u32 piece = threadIdx.x + i * THREADS;
        u32 row = piece >> 4, chunk = piece & 15;
        bool valid = first_row + row < end && chunk * 8 < columns;
        const u16* from = matrix + (valid ? (u64)(first_row + row) * stride + first + chunk * 8 : 0);
        cp_async16(to + (chunk >> 3) * (TILE_BYTES / 2) + row * 128 + (((chunk & 7) ^ (row & 7)) << 4), from, valid);
    }
}

// c[i, j] += a[rows, i]^T * b[rows, j], the rows being split among blocks.
#ifdef KERNEL_gemm_grad
extern "C" __global__ void __launch_bounds__(THREADS, 2)
gemm_grad(const u16* a, const u16* b, float* c, const __grid_constant__ GradientSizes p) {
    float sum[64];
    u32 base = smem_address(shared);
    u32 left_column = blockIdx.x * TILE, right_column = blockIdx.y * TILE;
    u32 first = blockIdx.z * p.rows_per_split;
    u32 end = first + p.rows_per_split < p.rows ? first + p.rows_per_split : p.rows;
    if (first >= end) return;
    u32 slices = (end - first + SLICE - 1) / SLICE;
    u32 left_columns = p.i - left_column, right_columns = p.j - right_column;
    auto load = [&](u32 stage, u32 slice) {
        u32 row = first + slice * SLICE;
        load_columns(base + stage * STAGE_BYTES, a, row, end, p.i, left_column, left_columns);
        load_columns(base + stage * STAGE_BYTES + TILE_BYTES, b, row, end, p.stride, p.offset + right_column, right_columns);
    };
#pragma unroll
    for (int i = 0; i < 64; i++) sum[i] = 0.0f;
#pragma unroll
    for (int stage = 0; stage < STAGES - 1; stage++) {
        if (stage < slices) load(stage, stage);
        cp_async_commit();
    }
    u32 half = threadIdx.x >> 7;
    u32 stage = 0, next = STAGES - 1;
    for (u32 slice = 0; slice < slices; slice++) {
        cp_async_wait<STAGES - 2>();
        shared_fence();
        __syncthreads();
        if (slice + STAGES - 1 < slices) load(next, slice + STAGES - 1);
        cp_async_commit();
        // Blocks of 64 columns are half a tile apart, groups of eight rows 1024 bytes.
        u64 left = descriptor(base + stage * STAGE_BYTES + half * (TILE_BYTES / 2), TILE_BYTES / 2, 1024);
        u64 right = descriptor(base + stage * STAGE_BYTES + TILE_BYTES, TILE_BYTES / 2, 1024);
        wgmma_fence();
#pragma unroll
        for (int step = 0; step < SLICE / 16; step++) wgmma<1>(sum, left + 128 * step, right + 128 * step);
        wgmma_commit();
        wgmma_wait();
        stage = stage + 1 == STAGES ? 0 : stage + 1;
        next = next + 1 == STAGES ? 0 : next + 1;
    }
    each_pair(sum, left_column, right_column, [&](u32 i, u32 j, float x, float y) {
        if (i < p.i && j < p.j) add_pair(c + (u64)i * p.j + j, x, y);
    });
}
#endif
