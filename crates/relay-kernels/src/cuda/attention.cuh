// What the kernels of attention share, whether a block takes all of a head or a part of it.
//
//   q, k   the projections rotated (RoPE, rotate-half) at their own column, rounded to bf16
//   S      = scale q k^T - slope |query - key|, minus infinity where the key is not visible to the query
//   P      = softmax(S), by rows, in f32;  lse = log-sum-exp of the rows of S
//   out    = (P * mask) v, with the mask of dropout (0 or keep)
//
//   delta  = sum over a head of dout * out            dP = dout v^T
//   dS     = P * (mask * dP - delta)                  dv = (P * mask)^T dout
//   dq     = scale dS k, rotated back                 dk = scale dS^T q, rotated back
//
// A key is visible where pads[batch] <= key < width and, if causal, key <= query. A query that sees no key has
// out = 0 and lse = +infinity: exp(S - lse) is then 0 everywhere, and so are its gradients.
//
// In global memory: qkv and dqkv [batch, width, 3, heads, HD], out and dout [batch, width, heads, HD],
// lse [batch, heads, width], angles [width, HD / 2] of (cos, sin).
// In shared memory: matrices whose rows are PITCH numbers apart, zero beyond width. PITCH is an odd number of
// 16 bytes, so that the 8 rows that ldmatrix reads at once lie in different banks.
//
// In what mma16816 accumulates, a lane holds the rows lane / 4 and lane / 4 + 8, the columns 2 (lane % 4) and the
// next. What it accumulates, rounded, is the left operand of the next product without an exchange between lanes.
//
// Defines: HD = 64 (or 32).

#ifndef HD
#define HD 64
#endif

#define PITCH (HD + 8)
// 16-byte pieces of a row of one head, and products of depth 16 along it.
#define PIECES (HD / 8)
#define STEPS (HD / 16)

#define CAUSAL 1u
#define ROPE 2u
#define ALIBI 4u
#define DROPOUT 8u

#define LOG2_E 1.4426950408889634f
#define LN_2 0.6931471805599453f
#define INFINITE __int_as_float(0x7f800000)

struct AttentionParams {
    u32 batch, width, heads, flags;
    float scale;
    Mask mask;
};

// Where a lane points ldmatrix_x4 in a matrix of 16 x 16, for the two orders of its four 8 x 8 parts.
// By rows: the parts follow each other down, then right. Plain, it loads a left operand; transposed, the right
// operands of a product that sums over the rows of the matrix.
__device__ __forceinline__ u32 place_by_rows(u32 matrix, int row, int column, int pitch, int lane) {
    return matrix + 2 * ((row + (lane & 15)) * pitch + column + (lane >> 4) * 8);
}
// By columns: the parts follow each other right, then down. Plain, it loads the right operands of a product
// that sums over the columns of the matrix; transposed, a left operand from the transposed matrix.
__device__ __forceinline__ u32 place_by_columns(u32 matrix, int row, int column, int pitch, int lane) {
    return matrix + 2 * ((row + (lane & 7) + (lane >> 4) * 8) * pitch + column + ((lane >> 3) & 1) * 8);
}

// 16 rows of a matrix, 16 columns of them, as a left operand.
__device__ __forceinline__ void load_left(u32 (&left)[4], u32 matrix, int row, int step, int lane) {
    ldmatrix_x4(left[0], left[1], left[2], left[3], place_by_rows(matrix, row, 16 * step, PITCH, lane));
}

// tile += left x (16 rows of a matrix, 16 columns of them)^T: 16 x 16, as two halves of 8 columns.
__device__ __forceinline__ void multiply_transposed(float (&tile)[2][4], const u32 (&left)[4], u32 matrix, int row,
                                                    int step, int lane) {
    u32 b[4];
    ldmatrix_x4(b[0], b[1], b[2], b[3], place_by_columns(matrix, row, 16 * step, PITCH, lane));
    mma16816(tile[0], left[0], left[1], left[2], left[3], b[0], b[1]);
    mma16816(tile[1], left[0], left[1], left[2], left[3], b[2], b[3]);
}

// total += left x (16 rows of a matrix): 16 x HD.
__device__ __forceinline__ void multiply_add(float (&total)[PIECES][4], const u32 (&left)[4], u32 matrix, int row,
                                             int lane) {
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
        u32 b[4];
        ldmatrix_x4_trans(b[0], b[1], b[2], b[3], place_by_rows(matrix, row, 16 * step, PITCH, lane));
        mma16816(total[2 * step], left[0], left[1], left[2], left[3], b[0], b[1]);
        mma16816(total[2 * step + 1], left[0], left[1], left[2], left[3], b[2], b[3]);
    }
}

template <int COUNT>
__device__ __forceinline__ void clear(float (&total)[COUNT][4]) {
#pragma unroll
    for (int piece = 0; piece < COUNT; ++piece)
#pragma unroll
        for (int i = 0; i < 4; ++i) total[piece][i] = 0.0f;
}

// A 16 x 16 accumulated tile, rounded, as a left operand.
__device__ __forceinline__ void round_tile(u32 (&left)[4], const float (&tile)[2][4]) {
    left[0] = pack_bf16(tile[0][0], tile[0][1]);
    left[1] = pack_bf16(tile[0][2], tile[0][3]);
    left[2] = pack_bf16(tile[1][0], tile[1][1]);
    left[3] = pack_bf16(tile[1][2], tile[1][3]);
}

// The product of two pieces of 8 numbers.
__device__ __forceinline__ float dot(uint4 a, uint4 b) {
    float sum = low_bf16(a.x) * low_bf16(b.x) + high_bf16(a.x) * high_bf16(b.x);
    sum += low_bf16(a.y) * low_bf16(b.y) + high_bf16(a.y) * high_bf16(b.y);
    sum += low_bf16(a.z) * low_bf16(b.z) + high_bf16(a.z) * high_bf16(b.z);
    sum += low_bf16(a.w) * low_bf16(b.w) + high_bf16(a.w) * high_bf16(b.w);
    return sum;
}

// Rotates two numbers of the first half of a row with their partners of the second half.
__device__ __forceinline__ void rotate_pair(u32& first, u32& second, float4 angle) {
    float a = low_bf16(first), b = high_bf16(first), c = low_bf16(second), d = high_bf16(second);
    first = pack_bf16(a * angle.x - c * angle.y, b * angle.z - d * angle.w);
    second = pack_bf16(c * angle.x + a * angle.y, d * angle.z + b * angle.w);
}

__device__ __forceinline__ void rotate_pieces(uint4& first, uint4& second, const float4 (&angle)[4]) {
    rotate_pair(first.x, second.x, angle[0]);
    rotate_pair(first.y, second.y, angle[1]);
    rotate_pair(first.z, second.z, angle[2]);
    rotate_pair(first.w, second.w, angle[3]);
}
// Rotates the rows of an accumulated gradient back, from the rotated q or k to the projection.
__device__ __forceinline__ void rotate_back(float (&total)[PIECES][4], const float2* __restrict__ angles, u32 width,
                                            int row, int pair) {
#pragma unroll
    for (int piece = 0; piece < PIECES / 2; ++piece)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            u32 at = row + 8 * half;
            if (at >= width) continue;
            float4 angle = *(const float4*)(angles + at * (HD / 2) + 8 * piece + 2 * pair);
            float& a = total[piece][2 * half];
            float& b = total[piece][2 * half + 1];
            float& c = total[piece + PIECES / 2][2 * half];
            float& d = total[piece + PIECES / 2][2 * half + 1];
            float a_before = a, b_before = b;
            a = a * angle.x + c * angle.y;
            b = b * angle.z + d * angle.w;
            c = c * angle.x - a_before * angle.y;
            d = d * angle.z - b_before * angle.w;
        }
}

// Writes a warp's 16 rows to global memory, rounded, by way of its rows of a matrix in shared memory, so that
// whole lines are written. Only this warp may use these rows of the matrix by now. `place_of(row, column)` is where
// eight numbers go.
template <typename Place>
__device__ __forceinline__ void write_rows(const float (&total)[PIECES][4], u16* matrix, Place place_of, u32 width,
                                           int first_row, int lane) {
    __syncwarp();
#pragma unroll
    for (int piece = 0; piece < PIECES; ++piece) {
        u16* place = matrix + (first_row + lane / 4) * PITCH + 8 * piece + 2 * (lane % 4);
        *(u32*)place = pack_bf16(total[piece][0], total[piece][1]);
        *(u32*)(place + 8 * PITCH) = pack_bf16(total[piece][2], total[piece][3]);
    }
    __syncwarp();
#pragma unroll
    for (int turn = 0; turn < PIECES / 2; ++turn) {
        u32 unit = turn * 32 + lane;
        u32 row = first_row + unit / PIECES, column = unit % PIECES * 8;
        if (row < width) *(uint4*)place_of(row, column) = *(const uint4*)(matrix + row * PITCH + column);
    }
}

// In rows that are a stride apart.
__device__ __forceinline__ void write_rows(const float (&total)[PIECES][4], u16* matrix, u16* to, u32 row_stride,
                                           u32 width, int first_row, int lane) {
    write_rows(total, matrix, [&](u32 row, u32 column) { return to + row * row_stride + column; }, width, first_row, lane);
}
