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
// Rows are as rows.cuh has them: with SPLIT one of all heads is followed by what is left of it in global memory, where
// qkv is [batch, width, 2, 3, heads, HD], and one of a head in shared memory, within PITCH. A product of two such
// operands is three, without that of what is left of both, which would be of the size of what rounding twice has lost.
//
// In what mma16816 accumulates, a lane holds the rows lane / 4 and lane / 4 + 8, the columns 2 (lane % 4) and the
// next. What it accumulates, rounded, is the left operand of the next product without an exchange between lanes.
//
// Stands behind rows.cuh. Defines: HD = 64 (or 32); SPLIT.

#ifndef HD
#define HD 64
#endif

#define PITCH (PARTS * HD + 8)
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

// A left operand of 16 x 16.
typedef u32 Left[PARTS][4];

// 16 rows of a matrix, 16 columns of them, as a left operand.
__device__ __forceinline__ void load_left(Left& left, u32 matrix, int row, int step, int lane) {
#pragma unroll
    for (int half = 0; half < PARTS; ++half) {
        u32(&to)[4] = left[half];
        ldmatrix_x4(to[0], to[1], to[2], to[3], place_by_rows(matrix, row, 16 * step + half * HD, PITCH, lane));
    }
}

// Adds left x right to 16 x 16, as two halves of 8 columns, where right is one half of an operand: of the three
// products of two split operands those that it is in.
__device__ __forceinline__ void multiply_half(float (&first)[4], float (&second)[4], const Left& left,
                                              const u32 (&right)[4], int half) {
#pragma unroll
    for (int other = 0; other < PARTS - half; ++other) {
        const u32(&a)[4] = left[other];
        mma16816(first, a[0], a[1], a[2], a[3], right[0], right[1]);
        mma16816(second, a[0], a[1], a[2], a[3], right[2], right[3]);
    }
}

// tile += left x (16 rows of a matrix, 16 columns of them)^T: 16 x 16, as two halves of 8 columns.
__device__ __forceinline__ void multiply_transposed(float (&tile)[2][4], const Left& left, u32 matrix, int row,
                                                    int step, int lane) {
#pragma unroll
    for (int half = 0; half < PARTS; ++half) {
        u32 b[4];
        ldmatrix_x4(b[0], b[1], b[2], b[3], place_by_columns(matrix, row, 16 * step + half * HD, PITCH, lane));
        multiply_half(tile[0], tile[1], left, b, half);
    }
}

// total += left x (16 rows of a matrix): 16 x HD.
__device__ __forceinline__ void multiply_add(float (&total)[PIECES][4], const Left& left, u32 matrix, int row, int lane) {
#pragma unroll
    for (int step = 0; step < STEPS; ++step)
#pragma unroll
        for (int half = 0; half < PARTS; ++half) {
            u32 b[4];
            ldmatrix_x4_trans(b[0], b[1], b[2], b[3], place_by_rows(matrix, row, 16 * step + half * HD, PITCH, lane));
            multiply_half(total[2 * step], total[2 * step + 1], left, b, half);
        }
}

template <int COUNT>
__device__ __forceinline__ void clear(float (&total)[COUNT][4]) {
#pragma unroll
    for (int piece = 0; piece < COUNT; ++piece)
#pragma unroll
        for (int i = 0; i < 4; ++i) total[piece][i] = 0.0f;
}

// Two numbers as a pair of bf16 and, with SPLIT, the pair of what that has left; and each of them back.
__device__ __forceinline__ void pack(u32& pair, u32& rest, float x, float y) {
    pair = pack_bf16(x, y);
    if (SPLIT) rest = left_over(pair, x, y);
}
__device__ __forceinline__ float low_of(u32 pair, u32 rest) {
    return SPLIT ? low_bf16(pair) + low_bf16(rest) : low_bf16(pair);
}
__device__ __forceinline__ float high_of(u32 pair, u32 rest) {
    return SPLIT ? high_bf16(pair) + high_bf16(rest) : high_bf16(pair);
}

// A 16 x 16 accumulated tile, rounded, as a left operand.
__device__ __forceinline__ void round_tile(Left& left, const float (&tile)[2][4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const float* from = tile[i / 2] + i % 2 * 2;
        pack(left[0][i], left[PARTS - 1][i], from[0], from[1]);
    }
}

// A piece of 8 numbers.
struct Piece {
    uint4 pairs, rest;
};
// From where the rest of it lies so far behind.
__device__ __forceinline__ Piece load_piece(const u16* from, u32 to_rest) {
    Piece piece;
    piece.pairs = *(const uint4*)from;
    if (SPLIT) piece.rest = *(const uint4*)(from + to_rest);
    return piece;
}
__device__ __forceinline__ void store_piece(u16* to, u32 to_rest, const Piece& piece) {
    *(uint4*)to = piece.pairs;
    if (SPLIT) *(uint4*)(to + to_rest) = piece.rest;
}
__device__ __forceinline__ Piece no_piece() { return {make_uint4(0, 0, 0, 0), make_uint4(0, 0, 0, 0)}; }

// The product of two pieces of 8 numbers.
__device__ __forceinline__ float dot(const Piece& a, const Piece& b) {
    auto of_pair = [](u32 a, u32 a_rest, u32 b, u32 b_rest) {
        return low_of(a, a_rest) * low_of(b, b_rest) + high_of(a, a_rest) * high_of(b, b_rest);
    };
    float sum = of_pair(a.pairs.x, a.rest.x, b.pairs.x, b.rest.x);
    sum += of_pair(a.pairs.y, a.rest.y, b.pairs.y, b.rest.y);
    sum += of_pair(a.pairs.z, a.rest.z, b.pairs.z, b.rest.z);
    sum += of_pair(a.pairs.w, a.rest.w, b.pairs.w, b.rest.w);
    return sum;
}

// Rotates two numbers of the first half of a row with their partners of the second half.
__device__ __forceinline__ void rotate_pair(u32& first, u32& first_rest, u32& second, u32& second_rest, float4 angle) {
    float a = low_of(first, first_rest), b = high_of(first, first_rest);
    float c = low_of(second, second_rest), d = high_of(second, second_rest);
    pack(first, first_rest, a * angle.x - c * angle.y, b * angle.z - d * angle.w);
    pack(second, second_rest, c * angle.x + a * angle.y, d * angle.z + b * angle.w);
}

__device__ __forceinline__ void rotate_pieces(Piece& first, Piece& second, const float4 (&angle)[4]) {
    rotate_pair(first.pairs.x, first.rest.x, second.pairs.x, second.rest.x, angle[0]);
    rotate_pair(first.pairs.y, first.rest.y, second.pairs.y, second.rest.y, angle[1]);
    rotate_pair(first.pairs.z, first.rest.z, second.pairs.z, second.rest.z, angle[2]);
    rotate_pair(first.pairs.w, first.rest.w, second.pairs.w, second.rest.w, angle[3]);
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
// eight numbers go, with SPLIT the rest of which goes `to_rest` behind.
template <typename Place>
__device__ __forceinline__ void write_rows(const float (&total)[PIECES][4], u16* matrix, Place place_of, u32 to_rest,
                                           u32 width, int first_row, int lane) {
    __syncwarp();
#pragma unroll
    for (int piece = 0; piece < PIECES; ++piece) {
        u16* place = matrix + (first_row + lane / 4) * PITCH + 8 * piece + 2 * (lane % 4);
        put_halves(place, HD, total[piece][0], total[piece][1]);
        put_halves(place + 8 * PITCH, HD, total[piece][2], total[piece][3]);
    }
    __syncwarp();
#pragma unroll
    for (int turn = 0; turn < PIECES / 2; ++turn) {
        u32 unit = turn * 32 + lane;
        u32 row = first_row + unit / PIECES, column = unit % PIECES * 8;
#pragma unroll
        for (int half = 0; half < PARTS; ++half)
            if (row < width)
                *(uint4*)(place_of(row, column) + half * to_rest) =
                    *(const uint4*)(matrix + row * PITCH + column + half * HD);
    }
}

// In rows that are a stride apart.
__device__ __forceinline__ void write_rows(const float (&total)[PIECES][4], u16* matrix, u16* to, u32 row_stride,
                                           u32 width, int first_row, int lane) {
    auto place_of = [&](u32 row, u32 column) { return to + row * row_stride + column; };
    write_rows(total, matrix, place_of, row_stride / 2, width, first_row, lane);
}
