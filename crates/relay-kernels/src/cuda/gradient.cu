// Gradients of matrices: products over the rows of both operands, as rows.cuh has them, with sums in f32.
//
// A block computes a tile of 128 x COLUMNS over a part of the rows, with two warpgroups of 64 of the left operand's columns
// each and a third one that loads, and adds it to what is there. In shared memory 64 columns lie side by side, a line of 128
// bytes a row, whose eight chunks of 16 bytes are permuted by the row's number.
//
// Defines: COLUMNS, 128 or 256.

static constexpr u32 THREADS = 3 * WARPGROUP;
static constexpr u32 TILE = 2 * ROWS;
static constexpr u32 LEFT_BYTES = 2 * PIECE_BYTES;
static constexpr u32 STAGES = 4;
static constexpr u32 STAGE_BYTES = LEFT_BYTES + COLUMNS / 64 * PIECE_BYTES;
static constexpr u32 SHARED_BYTES = STAGES * (STAGE_BYTES + 16);
static_assert(SHARED_BYTES <= 227 * 1024, "what a block may have");
static constexpr u32 HELD = COLUMNS / 2;

struct GradientSizes {
    // Rows of both operands, columns of either, rows that a block takes.
    u32 rows, i, j, rows_per_split;
};

// A slice of DEPTH rows and COUNT columns from `first` on of a matrix of `columns`.
template <u32 COUNT>
__device__ __forceinline__ void load_columns(u32 to, const u16* matrix, u32 first_row, u32 end, u32 columns, u32 first) {
    u32 thread = threadIdx.x & (WARPGROUP - 1), row = thread >> 3, chunk = thread & 7;
    to += row * 128 + ((chunk ^ (row & 7)) << 4);
#pragma unroll
    for (u32 part = 0; part < COUNT; part += 64) {
        u32 column = first + part + chunk * 8;
#pragma unroll
        for (u32 i = 0; i < SLICE; i += 16) {
            u32 line = first_row + row + i % DEPTH;
            bool valid = line < end && column < columns;
            const u16* from = matrix + (valid ? ((u64)line * PARTS + i / DEPTH) * columns + column : 0);
            cp_async16(to + part / 64 * PIECE_BYTES + i * 128, from, valid);
        }
    }
}

// c[i, j] += a[rows, i]^T * b[rows, j].
extern "C" __global__ void __launch_bounds__(THREADS, 1)
gemm_grad(const u16* a, const u16* b, float* c, const __grid_constant__ GradientSizes p) {
    u32 base = smem_address(shared), group = threadIdx.x / WARPGROUP;
    Ring<STAGES, STAGE_BYTES> ring(base, base + STAGES * STAGE_BYTES);
    if (threadIdx.x == 0) ring.init(4, 8);
    __syncthreads();
    u32 left_column = blockIdx.x * TILE, right_column = blockIdx.y * COLUMNS;
    u32 first = blockIdx.z * p.rows_per_split, end = min(first + p.rows_per_split, p.rows);
    u32 slices = (end - first + DEPTH - 1) / DEPTH;
    if (group == 2) {
        fewer_registers<56>();
        load_slices(ring, slices, [&](u32 slice, u32 place) {
            u32 row = first + slice * DEPTH;
            load_columns<TILE>(place, a, row, end, p.i, left_column);
            load_columns<COLUMNS>(place + LEFT_BYTES, b, row, end, p.j, right_column);
        });
        return;
    }
    more_registers<224>();
    float sum[HELD];
    multiply_slices<0>(ring, sum, slices, [&](float(&sum)[HELD], u32 place, u32 slice) {
        // Groups of eight rows are 1024 bytes apart.
        u64 left = descriptor(place + group * PIECE_BYTES, PIECE_BYTES, 1024);
        u64 right = descriptor(place + LEFT_BYTES, PIECE_BYTES, 1024);
        multiply_slice<1>(sum, left, right, 128, slice > 0);
    });
    // Two neighbours exchange what they hold of two groups of eight columns, so that each has four in a row.
    u32 lane = threadIdx.x & 31, odd = lane & 1;
    u32 row = left_column + group * ROWS + (threadIdx.x >> 5 & 3) * 16 + (lane >> 2);
    u32 column = right_column + odd * 8 + (lane & 2) * 2;
#pragma unroll
    for (int i = 0; i < COLUMNS / 8; i += 2) {
#pragma unroll
        for (int low = 0; low < 2; low++) {
            float* held = sum + 4 * i + 2 * low;
            float x = __shfl_xor_sync(0xffffffffu, odd ? held[0] : held[4], 1);
            float y = __shfl_xor_sync(0xffffffffu, odd ? held[1] : held[5], 1);
            float4 four = odd ? make_float4(x, y, held[4], held[5]) : make_float4(held[0], held[1], x, y);
            u32 line = row + 8 * low, at = column + 8 * i;
            if (line < p.i && at < p.j) add_four(c + (u64)line * p.j + at, four);
        }
    }
}
