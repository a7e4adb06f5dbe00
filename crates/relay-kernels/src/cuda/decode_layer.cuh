// What a block does in a layer: products, norms, attention, and what it sends to the others.
//
// Stands behind decode.cuh in front of decode.cu.

// Where a lane finds 16 numbers of texts as right operands: 8 texts, or 16.
__device__ __forceinline__ u32 texts_of(u32 matrix, int pitch) {
    u32 lane = lane_of(), row = GROUPS == 1 ? lane & 7 : (lane & 7) + (lane >> 4) * 8;
    return matrix + 2 * (row * pitch + (lane >> 3 & 1) * 8);
}
__device__ __forceinline__ void load_texts(u32 (&right)[GROUPS][2], u32 place, int pitch) {
#if GROUPS == 1
    ldmatrix_x2(right[0][0], right[0][1], place);
#else
#pragma unroll
    for (int group = 0; group < GROUPS; group += 2)
        ldmatrix_x4(right[group][0], right[group][1], right[group + 1][0], right[group + 1][1],
                    place + 2 * group * 8 * pitch);
#endif
}

// Leaves a product of weights and a matrix of texts in parts of sums, [SPLIT, ROWS, PITCH].
template <typename S, int PITCH>
__device__ __forceinline__ void multiply(Ring& ring, u32 matrix) {
    constexpr bool WHOLE = S::STEPS % (EACH * S::SPLIT) == 0;
    u32 lane = lane_of(), warp = warp_of();
    bool active = warp < S::TILES * S::SPLIT;
    for (int part = 0; part < S::PARTS; part++) {
        // Two sums in turn, so that one addition need not wait for the other.
        float sum[2][GROUPS][4] = {};
        int step = warp / S::TILES;
        u32 texts = texts_of(matrix, PITCH) + step * 32;
#pragma unroll 1
        for (int stage = 0; stage < S::STAGES_OF_PART; stage++, step += EACH * S::SPLIT, texts += EACH * S::SPLIT * 32) {
            ring.take();
            if (active) {
                const uint4* units = shared<uint4>(ring.place()) + warp * 32 + lane;
                uint4 left[EACH];
                u32 right[EACH][GROUPS][2];
#pragma unroll
                for (int i = 0; i < EACH; i++) {
                    if (!WHOLE && step + i * S::SPLIT >= S::STEPS) break;
                    left[i] = units[i * S::SPLIT * S::TILES * 32];
                    load_texts(right[i], texts + i * S::SPLIT * 32, PITCH);
                }
#pragma unroll
                for (int i = 0; i < EACH; i++) {
                    if (!WHOLE && step + i * S::SPLIT >= S::STEPS) break;
#pragma unroll
                    for (int group = 0; group < GROUPS; group++)
                        mma16816(sum[i & 1][group], left[i].x, left[i].y, left[i].z, left[i].w, right[i][group][0],
                                 right[i][group][1]);
                }
            }
            ring.give();
        }
        if (active) {
            int column = (part * S::TILES + warp % S::TILES) * 16 + lane / 4;
#pragma unroll
            for (int group = 0; group < GROUPS; group++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    int row = warp / S::TILES * ROWS + group * 8 + lane % 4 * 2 + i % 2;
                    shared<float>(SUMS_AT)[row * S::PITCH + column + i / 2 * 8] = sum[0][group][i] + sum[1][group][i];
                }
        }
    }
    readers_sync();
}
// Four columns of a text, all parts together.
template <typename S>
__device__ __forceinline__ float4 result(u32 text, u32 column) {
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll
    for (int part = 0; part < S::SPLIT; part++) {
        float4 x = *(float4*)(shared<float>(SUMS_AT) + (part * ROWS + text) * S::PITCH + column);
        sum.x += x.x, sum.y += x.y, sum.z += x.z, sum.w += x.w;
    }
    return sum;
}

// normed = bf16(norm of what is at `from`), when that has come for the `turn`th time; without `gamma` it is only rounded.
__device__ __forceinline__ void norm_rows(u32 from, int which, u32 turn, const float* gamma, const float* beta,
                                          float epsilon) {
    u32 lane = lane_of();
    float2 scale[D / 64], shift[D / 64];
#pragma unroll
    for (int i = 0; i < D / 64; i++) {
        scale[i] = gamma ? *(const float2*)(gamma + i * 64 + lane * 2) : make_float2(1.0f, 1.0f);
        shift[i] = gamma ? *(const float2*)(beta + i * 64 + lane * 2) : make_float2(0.0f, 0.0f);
    }
    if (which != NOTHING) receive(which, ROWS * D * 4, turn);
    for (u32 row = warp_of(); row < ROWS; row += WARPS) {
        const float* x = shared<float>(from) + row * D;
        float2 value[D / 64];
        float mean = 0.0f, rstd = 1.0f;
#pragma unroll
        for (int i = 0; i < D / 64; i++) value[i] = *(const float2*)(x + i * 64 + lane * 2), mean += value[i].x + value[i].y;
        if (gamma) {
            mean = warp_sum(mean) * (1.0f / D);
            float squares = 0.0f;
#pragma unroll
            for (int i = 0; i < D / 64; i++) {
                value[i].x -= mean, value[i].y -= mean;
                squares += value[i].x * value[i].x + value[i].y * value[i].y;
            }
            rstd = rsqrtf(warp_sum(squares) * (1.0f / D) + epsilon);
        }
#pragma unroll
        for (int i = 0; i < D / 64; i++)
            *shared<u32>(NORMED_AT + 2 * (row * PITCH_D + i * 64 + lane * 2)) =
                pack_bf16(value[i].x * rstd * scale[i].x + shift[i].x, value[i].y * rstd * scale[i].y + shift[i].y);
    }
    readers_sync();
}

// Sends queries, keys and values to where their heads are.
__device__ __forceinline__ void send_qkv(u32 rank) {
    for (u32 index = threadIdx.x; index < ROWS * Qkv::COLUMNS / 4; index += READERS) {
        u32 text = index / (Qkv::COLUMNS / 4), column = index % (Qkv::COLUMNS / 4) * 4, all = rank * Qkv::COLUMNS + column;
        if (all >= 3 * D) continue;
        float4 x = result<Qkv>(text, column);
        u32 pair = text * HEADS + all % D / HD;
        send(QKV_AT + 4 * ((pair / BLOCKS * 3 + all / D) * HD + all % HD),
             make_uint4(__float_as_uint(x.x), __float_as_uint(x.y), __float_as_uint(x.z), __float_as_uint(x.w)), QKV_CAME,
             pair % BLOCKS);
    }
}

// What is at `from` plus a product, in this block's columns, to all blocks.
template <typename S>
__device__ __forceinline__ void send_sum(u32 rank, u32 from, const float* bias, u32 to, int which) {
    constexpr u32 ITEMS = ROWS * S::COLUMNS / 4;
    // Threads that share the blocks to send one item to.
    constexpr u32 SENDERS = ITEMS * 8 <= READERS ? 8 : ITEMS * 4 <= READERS ? 4 : ITEMS * 2 <= READERS ? 2 : 1;
    for (u32 index = threadIdx.x; index < ITEMS * SENDERS; index += READERS) {
        u32 item = index / SENDERS, text = item / (S::COLUMNS / 4), column = item % (S::COLUMNS / 4) * 4;
        u32 all = rank * S::COLUMNS + column;
        if (all >= D) continue;
        float4 x = result<S>(text, column), before = *(const float4*)(shared<float>(from) + text * D + all);
        if (bias) {
            float4 shift = *(const float4*)(bias + all);
            x.x += shift.x, x.y += shift.y, x.z += shift.z, x.w += shift.w;
        }
        uint4 sum = make_uint4(__float_as_uint(before.x + x.x), __float_as_uint(before.y + x.y),
                               __float_as_uint(before.z + x.z), __float_as_uint(before.w + x.w));
#pragma unroll
        for (u32 block = index % SENDERS; block < BLOCKS; block += SENDERS)
            send(to + 4 * (text * D + all), sum, which, block);
    }
}

// gelu of a product, rounded, to all blocks.
__device__ __forceinline__ void send_hidden(u32 rank, const float* bias) {
    constexpr u32 ITEMS = ROWS * Up::COLUMNS / 8, SENDERS = ITEMS * 2 <= READERS ? 2 : 1;
    for (u32 index = threadIdx.x; index < ITEMS * SENDERS; index += READERS) {
        u32 item = index / SENDERS, text = item / (Up::COLUMNS / 8), column = item % (Up::COLUMNS / 8) * 8;
        u32 all = rank * Up::COLUMNS + column;
        if (all >= M) continue;
        u32 rounded[4];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float4 x = result<Up>(text, column + 4 * half), shift = *(const float4*)(bias + all + 4 * half);
            float slope;
            rounded[2 * half] = pack_bf16(gelu(x.x + shift.x, slope), gelu(x.y + shift.y, slope));
            rounded[2 * half + 1] = pack_bf16(gelu(x.z + shift.z, slope), gelu(x.w + shift.w, slope));
        }
        uint4 eight = make_uint4(rounded[0], rounded[1], rounded[2], rounded[3]);
#pragma unroll
        for (u32 block = index % SENDERS; block < BLOCKS; block += SENDERS)
            send(HIDDEN_AT + 2 * (text * PITCH_M + all), eight, HIDDEN_CAME, block);
    }
}

// A query, and what has come of the columns so far: weights relative to 2^most, and the columns by their weights. Columns are
// left operands; the right one is the query, or weights, eight times the same. A lane has the numbers lane / 4 and that + 8
// of 16.
struct Attention {
    u32 query[HD / 16][2];
    float most, sum, out[HD / 16][4];
};
// Two numbers of a head, `HD / 2` apart, rotated.
__device__ __forceinline__ float2 rotated(float first, float second, float2 angle) {
#if ROPE
    return make_float2(first * angle.x - second * angle.y, second * angle.x + first * angle.y);
#else
    return make_float2(first, second);
#endif
}
__device__ __forceinline__ void load_query(Attention& own, const float* query, const float2* angles) {
    u32 pair = lane_of() % 4 * 2;
#pragma unroll
    for (int step = 0; step < HD / 32; step++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            u32 at = step * 16 + half * 8 + pair;
            float2 first = rotated(query[at], query[at + HD / 2], angles[at]);
            float2 second = rotated(query[at + 1], query[at + 1 + HD / 2], angles[at + 1]);
            own.query[step][half] = pack_bf16(first.x, second.x);
            own.query[step + HD / 32][half] = pack_bf16(first.y, second.y);
        }
    own.most = __uint_as_float(0xff800000u), own.sum = 0.0f;
#pragma unroll
    for (int i = 0; i < HD / 16; i++) own.out[i][0] = own.out[i][1] = own.out[i][2] = own.out[i][3] = 0.0f;
}
// Attends to `count` columns, up to 32, that lie from `columns` on. Instead of columns beyond, which may be anything, the
// last one is read.
__device__ __forceinline__ void attend(Attention& own, u32 columns, u32 count, float scale) {
    u32 lane = lane_of();
    float score[2][4] = {}, weight[2][2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        u32 row = min(half * 16 + (lane & 15), count - 1), swap = (row & 7) ^ (lane >> 4);
#pragma unroll
        for (int step = 0; step < HD / 16; step++) {
            u32 key[4];
            ldmatrix_x4(key[0], key[1], key[2], key[3], columns + row * COLUMN + (swap ^ step * 2) * 16);
            mma16816(score[half], key[0], key[1], key[2], key[3], own.query[step][0], own.query[step][1]);
        }
    }
    float most = own.most;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float& x = weight[i / 2][i % 2];
        x = i * 8 + lane / 4 < count ? score[i / 2][i % 2 * 2] * scale : __uint_as_float(0xff800000u);
        most = fmaxf(most, x);
    }
#pragma unroll
    for (int apart = 4; apart < 32; apart *= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, apart));
    float shrink = exp2_fast(own.most - most);
    own.most = most, own.sum *= shrink;
#pragma unroll
    for (int i = 0; i < HD / 16; i++)
#pragma unroll
        for (int k = 0; k < 4; k++) own.out[i][k] *= shrink;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        u32 right[2];
#pragma unroll
        for (int far = 0; far < 2; far++) {
            float x = exp2_fast(weight[half][far] - most);
            own.sum += x;
            // A right operand has in a lane the weights of columns lane % 4 * 2 and the next.
            float first = __shfl_sync(0xffffffffu, x, lane % 4 * 8), second = __shfl_sync(0xffffffffu, x, lane % 4 * 8 + 4);
            right[far] = pack_bf16(first, second);
        }
        u32 row = min(half * 16 + (lane & 7) + (lane >> 4) * 8, count - 1), swap = (row & 7) ^ (lane >> 3 & 1);
#pragma unroll
        for (int step = 0; step < HD / 16; step++) {
            u32 value[4];
            ldmatrix_x4_trans(value[0], value[1], value[2], value[3],
                              columns + row * COLUMN + (swap ^ (HD / 8 + step * 2)) * 16);
            mma16816(own.out[step], value[0], value[1], value[2], value[3], right[0], right[1]);
        }
    }
}

// Rounds the new column's key and value, to `current` and to the cache, and attends to it, before all others.
__device__ __forceinline__ void write_column(Attention& own, const float* qkv, const float2* angles, u32 current, u16* cache,
                                             u32 column, float scale) {
    u32 lane = lane_of();
    u16* to = shared<u16>(current);
    float score = 0.0f;
    if (lane < HD / 2) {
        float2 key = rotated(qkv[HD + lane], qkv[HD + lane + HD / 2], angles[lane]);
        float2 query = rotated(qkv[lane], qkv[lane + HD / 2], angles[lane]);
        u32 keys = pack_bf16(key.x, key.y), queries = pack_bf16(query.x, query.y);
        score = low_bf16(keys) * low_bf16(queries) + high_bf16(keys) * high_bf16(queries);
        to[lane] = (u16)keys, to[lane + HD / 2] = (u16)(keys >> 16);
        to[HD + lane] = to_bf16(qkv[2 * HD + lane]);
        to[HD + lane + HD / 2] = to_bf16(qkv[2 * HD + lane + HD / 2]);
    }
    __syncwarp();
    if (lane < PIECES) *(uint4*)(cache + column * (2 * HD) + (lane ^ (column & 7)) * 8) = *(uint4*)(to + lane * 8);
    own.most = warp_sum(score) * scale, own.sum = lane < 4 ? 1.0f : 0.0f;
#pragma unroll
    for (int i = 0; i < HD / 16; i++) {
        const u16* value = to + HD + i * 16 + lane / 4;
        own.out[i][0] = from_bf16(value[0]), own.out[i][2] = from_bf16(value[8]);
    }
}

// Puts together what the two warps of a pair have, and sends it to all blocks.
__device__ __forceinline__ void send_out(const float* parts, u32 slot, u32 head) {
    const float* other = parts + MERGE_PITCH;
    float most = fmaxf(parts[HD], other[HD]), first = exp2_fast(parts[HD] - most), second = exp2_fast(other[HD] - most);
    float share = 1.0f / (first * parts[HD + 1] + second * other[HD + 1]);
    first *= share, second *= share;
    for (u32 index = lane_of(); index < HD / 8 * BLOCKS; index += 32) {
        u32 at = index % (HD / 8) * 8, rounded[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float2 a = *(const float2*)(parts + at + 2 * i), b = *(const float2*)(other + at + 2 * i);
            rounded[i] = pack_bf16(a.x * first + b.x * second, a.y * first + b.y * second);
        }
        send(OUT_AT + 2 * (slot * PITCH_D + head * HD + at), make_uint4(rounded[0], rounded[1], rounded[2], rounded[3]),
             OUT_CAME, index / (HD / 8));
    }
}

// Attention of this block's heads of texts; every text without content has zeros.
__device__ __forceinline__ void attend_all(Ring& ring, u32 rank, u32 layer, const float2* angles, u16* cache, float scale,
                                           const DecodeParams& p) {
    u32 lane = lane_of(), pair = warp_of() / 2, side = warp_of() % 2, merged = 0;
    for (u32 pass = 0; pass < PASSES; pass++) {
        u32 slot, head, rounds = rounds_of(pass, rank), before = seen(pass, pair, rank);
        bool any = held(pass, pair, rank, slot, head), live = any && slots()[slot].text != NONE;
        Attention own;
        if (live) {
            const float* qkv = shared<float>(QKV_AT) + (pass * PAIRS + pair) * 3 * HD;
            const float2* turn = angles + before * (HD / 2);
            load_query(own, qkv, turn);
            if (side == 0)
                write_column(own, qkv, turn, CURRENT_AT + pair * COLUMN, cached(cache, slot, layer, head, p), before, scale);
        }
        for (u32 index = 0; index < rounds * PAIRS; index++) {
            ring.take();
            u32 first = index / PAIRS * FETCHED + side * SHARE;
            if (index % PAIRS == pair)
                for (u32 begin = first; begin < first + SHARE && begin < before; begin += 32)
                    attend(own, smem_address(shared_at(ring.place() + begin % FETCHED * COLUMN)), min(before - begin, 32u),
                           scale);
            ring.give();
        }
        if (!any) continue;
        if (!live) {
            if (side == 0)
                for (u32 index = lane; index < HD / 8 * BLOCKS; index += 32)
                    send(OUT_AT + 2 * (slot * PITCH_D + head * HD + index % (HD / 8) * 8), make_uint4(0, 0, 0, 0), OUT_CAME,
                         index / (HD / 8));
            continue;
        }
        // Two places in turn: one warp may be at its next head while the other still reads. Passes without a text, in which
        // the two do not meet, have no turn.
        float* parts = shared<float>(MERGE_AT) + (merged++ % 2 * PAIRS + pair) * 2 * MERGE_PITCH;
        float* mine = parts + side * MERGE_PITCH;
#pragma unroll
        for (int apart = 4; apart < 32; apart *= 2) own.sum += __shfl_xor_sync(0xffffffffu, own.sum, apart);
        if (lane % 4 == 0) {
#pragma unroll
            for (int i = 0; i < HD / 16; i++) mine[i * 16 + lane / 4] = own.out[i][0], mine[i * 16 + lane / 4 + 8] = own.out[i][2];
            if (lane == 0) mine[HD] = own.most, mine[HD + 1] = own.sum;
        }
        some_sync(2 + pair, 64);
        if (side == 0) send_out(parts, slot, head);
    }
}
