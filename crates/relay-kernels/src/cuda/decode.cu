// Texts from their prompts to their ends, token by token, by one kernel.
//
// A cluster of eight blocks has ROWS texts, one a slot, and takes them through all layers together. Columns of each
// product are divided among the blocks, so that each reads an eighth of the weights for every token; heads of texts are
// divided for attention. What a block has computed goes to the shared memory of the others, which wait for the bytes.
// Clusters have nothing to do with each other, but for the counter of texts that none has taken yet.
//
// In every block a warp more than the others fetches what all of them read from global memory: weights, keys and values,
// in the order in which they are used, through a ring of stages in shared memory. It runs ahead as far as there is room.
//
//   normed = bf16(norm(x))                         every block, all columns
//   qkv    = normed W, in f32                      to the block that has the head of the text
//   out    = attention, rounded                    to all
//   middle = x + out W                             to all, in f32
//   hidden = bf16(gelu(bf16(norm(middle)) W + b))  to all
//   x      = middle + hidden W + b                 to all, in f32
//
// Queries and keys are rotated before they are rounded to bf16, weights of attention are rounded, sums are f32. The order
// of all sums depends on nothing but the model and the column: a text is the same in any company.
//
// Weights lie in the order of use, for each block its own, in units as `pack_fragments` has them: left operands of
// mma16816. The transposed product comes out: its columns are texts. Keys and values lie [slot, layer, head, column, (k, v), HD] in bf16; pieces of 16 bytes of a column
// are swapped by the column's last three bits, so that ldmatrix finds eight columns in different banks.
//
// Defines: D, M, HEADS, HD (32 or 64), VOCAB, NORM (of the states that are read out), ROPE; ROWS (8, 16 or 32), STAGES,
// TOGETHER, the blocks that a multiprocessor has at a time.
// Launch: clusters of 8 blocks of THREADS threads, with SHARED bytes of dynamic shared memory.

#define BLOCKS 8
#define WARPS 8
#define THREADS (32 * WARPS + 32)
#define READERS (32 * WARPS)
#define UNIT 512
#define STAGE 16384
// Units of a warp in a stage of weights.
#define EACH (STAGE / UNIT / WARPS)
// Texts in groups of the eight columns of a product.
#define GROUPS (ROWS / 8)
#define NONE 0xffffffffu

// A product's columns in this block: `PARTS` one after the other, of `TILES` tiles of 16, each tile's sum in `SPLIT` parts.
template <int OUTER, int INNER>
struct Shape {
    static constexpr int ALL = (OUTER + 16 * BLOCKS - 1) / (16 * BLOCKS);
    static constexpr int PARTS = (ALL + WARPS - 1) / WARPS;
    static constexpr int TILES = (ALL + PARTS - 1) / PARTS;
    static constexpr int SPLIT = WARPS / TILES;
    static constexpr int STEPS = INNER / 16;
    static constexpr int COLUMNS = 16 * TILES * PARTS;
    static constexpr int COUNT = PARTS * TILES * STEPS;
    // Units of a stage, of which each warp of those that multiply has EACH, and stages of a part.
    static constexpr int UNITS = EACH * SPLIT * TILES;
    static constexpr int STAGES_OF_PART = (TILES * STEPS + UNITS - 1) / UNITS;
    // From one text to the next of what the parts of sums are in.
    static constexpr int PITCH = COLUMNS + 4;
    static constexpr int SUMS = SPLIT * ROWS * PITCH;
};
typedef Shape<3 * D, D> Qkv;
typedef Shape<D, D> Output;
typedef Shape<M, D> Up;
typedef Shape<D, M> Down;
typedef Shape<VOCAB, D> Head;
__device__ constexpr int larger(int a, int b) { return a > b ? a : b; }

// Heads of texts that are this block's. PAIRS at a time are attended to, each by two warps.
#define HELD (ROWS * HEADS / BLOCKS)
#define PAIRS (WARPS / 2)
#define PASSES ((HELD + PAIRS - 1) / PAIRS)
// Bytes of a column's key and value, its pieces, columns of a stage, and of each of its two warps.
#define COLUMN (4 * HD)
#define PIECES (HD / 4)
#define FETCHED (STAGE / COLUMN)
#define SHARE (FETCHED / 2)

// Shared memory, by its first bytes. Pitches of matrices are odd numbers of 16 bytes.
#define PITCH_D (D + 8)
#define PITCH_M (M + 8)
#define X_AT (STAGES * STAGE)
#define MIDDLE_AT (X_AT + ROWS * D * 4)
#define NORMED_AT (MIDDLE_AT + ROWS * D * 4)
#define OUT_AT (NORMED_AT + ROWS * PITCH_D * 2)
#define HIDDEN_AT (OUT_AT + ROWS * PITCH_D * 2)
#define QKV_AT (HIDDEN_AT + ROWS * PITCH_M * 2)
#define CURRENT_AT (QKV_AT + HELD * 3 * HD * 4)
#define MERGE_AT (CURRENT_AT + PAIRS * COLUMN)
#define MERGE_PITCH (HD + 4)
#define TOP_AT (MERGE_AT + 2 * PAIRS * 2 * MERGE_PITCH * 4)
#define SLOTS_AT (TOP_AT + ROWS * BLOCKS * 16)
#define TAKEN_AT (SLOTS_AT + ROWS * 32)
#define BARRIERS_AT (TAKEN_AT + ROWS * 4 + 16)
#define SUMS_AT (BARRIERS_AT + (2 * STAGES + 8) * 8)
#define SHARED \
    (SUMS_AT + 4 * larger(larger(Qkv::SUMS, Head::SUMS), larger(Output::SUMS, larger(Up::SUMS, Down::SUMS))))

__device__ __forceinline__ unsigned char* shared_at(u32 at) {
    extern __shared__ __align__(1024) unsigned char memory[];
    return memory + at;
}
template <typename T>
__device__ __forceinline__ T* shared(u32 at) {
    return (T*)shared_at(at);
}

// What blocks wait for from the cluster, and the fetching warp from the others.
enum Event { QKV_CAME, OUT_CAME, MIDDLE_CAME, HIDDEN_CAME, X_CAME, TOP_CAME, TEXTS_CAME, SLOTS_KNOWN, NOTHING };
__device__ __forceinline__ u32 event(int which) { return smem_address(shared_at(BARRIERS_AT + (2 * STAGES + which) * 8)); }

__device__ __forceinline__ u32 lane_of() { return threadIdx.x & 31; }
__device__ __forceinline__ u32 warp_of() { return threadIdx.x >> 5; }
__device__ __forceinline__ void readers_sync() { some_sync(1, READERS); }

// Waits until `bytes` have come for the `turn`th time.
__device__ __forceinline__ void receive(int which, u32 bytes, u32 turn) {
    if (threadIdx.x == 0) barrier_expect(event(which), bytes);
    barrier_wait(event(which), turn & 1);
}
__device__ __forceinline__ void send(u32 at, uint4 value, int which, u32 rank) {
    send16(remote(smem_address(shared_at(at)), rank), value, remote(event(which), rank));
}

// The ring of stages: which is next, and in the how manieth turn, odd or even.
struct Ring {
    u32 slot, parity;

    __device__ __forceinline__ u32 place() const { return slot * STAGE; }
    __device__ __forceinline__ u32 filled() const { return smem_address(shared_at(BARRIERS_AT + slot * 8)); }
    __device__ __forceinline__ u32 emptied() const { return smem_address(shared_at(BARRIERS_AT + (STAGES + slot) * 8)); }
    __device__ __forceinline__ void go_on() {
        if (++slot == STAGES) slot = 0, parity ^= 1;
    }
    // Every warp takes and gives every stage, also those that it does not read: parity tells nothing of what is further away.
    __device__ __forceinline__ void take() const { barrier_wait(filled(), parity); }
    __device__ __forceinline__ void give() {
        __syncwarp();
        if (lane_of() == 0) barrier_arrive(emptied(), 1);
        go_on();
    }
    __device__ __forceinline__ void fetch(const void* from, u32 bytes) {
        barrier_wait(emptied(), parity ^ 1);
        if (bytes > 0) {
            barrier_expect(filled(), bytes);
            copy_bulk(smem_address(shared_at(place())), from, bytes, filled());
        } else {
            barrier_arrive(filled(), 1);
        }
        go_on();
    }
};

// A place for a text.
struct Slot {
    // The text, or NONE; the column that is next, the token in it.
    u32 text, column, token;
    // The text's prompt and its length, where what is written goes, and how many tokens at most.
    u32 prompt, length, out, limit;
    // In the first slot: whether any has a text.
    u32 any;
};
__device__ __forceinline__ Slot* slots() { return shared<Slot>(SLOTS_AT); }

struct DecodeParams {
    // Number of texts; the token that ends one; columns that a slot has room for; slots of a cluster that are used at first.
    u32 texts, end, layers, longest, share;
    float epsilon, readout_epsilon;
};

// Head `pass * PAIRS + pair` of this block: of which slot, which head. False if there is none.
__device__ __forceinline__ bool held(u32 pass, u32 pair, u32 rank, u32& slot, u32& head) {
    u32 index = (pass * PAIRS + pair) * BLOCKS + rank;
    slot = index / HEADS, head = index % HEADS;
    return pass * PAIRS + pair < HELD;
}
// Columns that head's text has seen; 0 if there is none.
__device__ __forceinline__ u32 seen(u32 pass, u32 pair, u32 rank) {
    u32 slot, head;
    if (!held(pass, pair, rank, slot, head)) return 0;
    return slots()[slot].text == NONE ? 0 : slots()[slot].column;
}
// Rounds of a pass: in each every pair has a stage, full or not.
__device__ __forceinline__ u32 rounds_of(u32 pass, u32 rank) {
    u32 most = 0;
#pragma unroll
    for (int pair = 0; pair < PAIRS; pair++) most = max(most, seen(pass, pair, rank));
    return (most + FETCHED - 1) / FETCHED;
}
// Keys and values of a slot's head.
__device__ __forceinline__ u16* cached(u16* cache, u32 slot, u32 layer, u32 head, const DecodeParams& p) {
    u64 line = ((u64)(blockIdx.x / BLOCKS * ROWS + slot) * p.layers + layer) * HEADS + head;
    return cache + line * p.longest * (2 * HD);
}

template <typename S>
__device__ __forceinline__ void fetch_weights(Ring& ring, const uint4*& from) {
    for (int part = 0; part < S::PARTS; part++) {
        for (int begin = 0; begin < S::TILES * S::STEPS; begin += S::UNITS) {
            int units = min(S::UNITS, S::TILES * S::STEPS - begin);
            ring.fetch(from, units * UNIT);
            from += units * (UNIT / 16);
        }
    }
}

// What one lane does for all others of the block until there are no texts.
__device__ __forceinline__ void fetch_all(const uint4* weights, u16* cache, u32 rank, const DecodeParams& p) {
    Ring ring = {0, 0};
    for (u32 step = 0;; step++) {
        const uint4* from = weights;
        for (u32 layer = 0; layer < p.layers; layer++) {
            fetch_weights<Qkv>(ring, from);
            if (layer == 0) {
                barrier_wait(event(SLOTS_KNOWN), step & 1);
                if (!slots()->any) return;
            }
            for (u32 pass = 0; pass < PASSES; pass++) {
                u32 rounds = rounds_of(pass, rank);
                for (u32 index = 0; index < rounds * PAIRS; index++) {
                    u32 first = index / PAIRS * FETCHED, count = seen(pass, index % PAIRS, rank);
                    u32 slot, head;
                    held(pass, index % PAIRS, rank, slot, head);
                    u32 columns = count > first ? min(count - first, (u32)FETCHED) : 0;
                    ring.fetch(cached(cache, slot, layer, head, p) + first * (2 * HD), columns * COLUMN);
                }
            }
            fetch_weights<Output>(ring, from);
            fetch_weights<Up>(ring, from);
            fetch_weights<Down>(ring, from);
        }
        fetch_weights<Head>(ring, from);
    }
}

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
    u32 lane = lane_of(), pair = warp_of() / 2, side = warp_of() % 2;
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
        // Two places in turn: one warp may be at its next head while the other still reads.
        float* parts = shared<float>(MERGE_AT) + (pass % 2 * PAIRS + pair) * 2 * MERGE_PITCH;
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

// This block's best token of each text, the sum of exponentials relative to its logit, to all blocks.
__device__ __forceinline__ void send_top(u32 rank, const float* bias) {
    u32 lane = lane_of();
    const float* sums = shared<float>(SUMS_AT);
    for (u32 text = warp_of(); text < ROWS; text += WARPS) {
        float most = __uint_as_float(0xff800000u), sum = 0.0f;
        u32 best = NONE;
        auto logit = [&](u32 column) {
            float x = bias[rank * Head::COLUMNS + column];
#pragma unroll
            for (int part = 0; part < Head::SPLIT; part++) x += sums[(part * ROWS + text) * Head::PITCH + column];
            return x;
        };
        u32 count = VOCAB > rank * Head::COLUMNS ? min(VOCAB - rank * Head::COLUMNS, (u32)Head::COLUMNS) : 0;
        for (u32 at = lane; at < count; at += 32) {
            float x = logit(at);
            if (x > most) most = x, best = rank * Head::COLUMNS + at;
        }
#pragma unroll
        for (int step = 16; step > 0; step >>= 1) {
            float other = __shfl_xor_sync(0xffffffffu, most, step);
            u32 its = __shfl_xor_sync(0xffffffffu, best, step);
            if (other > most || (other == most && its < best)) most = other, best = its;
        }
        // Where nothing is a number above minus infinity, only what is none is left in the sum.
        float shift = best == NONE ? 0.0f : most;
        for (u32 at = lane; at < count; at += 32) sum += __expf(logit(at) - shift);
        sum = warp_sum(sum);
        if (lane < BLOCKS)
            send(TOP_AT + 16 * (text * BLOCKS + rank), make_uint4(__float_as_uint(most), best, __float_as_uint(sum), 0),
                 TOP_CAME, lane);
    }
}

// The most probable token of a text, the first among equals, and its probability: as `greedy` has it.
__device__ __forceinline__ float2 chosen(u32 text) {
    const uint4* top = shared<uint4>(TOP_AT) + text * BLOCKS;
    float most = __uint_as_float(0xff800000u), sum = 0.0f;
    u32 best = NONE;
    for (u32 block = 0; block < BLOCKS; block++)
        if (__uint_as_float(top[block].x) > most) most = __uint_as_float(top[block].x), best = top[block].y;
    for (u32 block = 0; block < BLOCKS; block++)
        sum += __uint_as_float(top[block].z) * __expf(__uint_as_float(top[block].x) - most);
    float probability = 1.0f / sum;
    bool known = best != NONE && probability <= 1.0f;
    return make_float2(best == NONE ? 0.0f : (float)best, known ? probability : 0.0f);
}

// Gives slots in `empty` the texts that come next; whether there were enough. Lanes of one warp are slots.
__device__ __forceinline__ bool take_texts(Slot& slot, u32 empty, u32 rank, u32 turn, const uint4* texts, u32* counter,
                                           const DecodeParams& p) {
    u32 lane = lane_of();
    bool mine = empty >> lane & 1;
    if (rank == 0) {
        u32 first = 0;
        if (lane == 0) first = atomicAdd(counter, (u32)__popc(empty));
        first = __shfl_sync(0xffffffffu, first, 0) + __popc(empty & ((1u << lane) - 1));
        u32 text = mine && first < p.texts ? first : NONE;
        for (u32 block = 0; block < BLOCKS && lane < ROWS; block++)
            send4(remote(smem_address(shared_at(TAKEN_AT + 4 * lane)), block), text, remote(event(TEXTS_CAME), block));
    }
    receive(TEXTS_CAME, ROWS * 4, turn);
    u32 text = mine ? *shared<u32>(TAKEN_AT + 4 * lane) : NONE;
    if (text != NONE) {
        uint4 its = texts[text];
        slot.text = text, slot.column = 0;
        slot.prompt = its.x, slot.length = its.y, slot.out = its.z, slot.limit = its.w;
    }
    return !__ballot_sync(0xffffffffu, mine && text == NONE);
}

struct Buffers {
    const uint4* weights;
    // Of each layer scale and shift of the first norm, of the second, bias of down, bias of up; then those of the readout.
    const float *vectors, *embedding;
    // [longest, HD / 2] of (cos, sin).
    const float2* angles;
    const u32* prompts;
    // Of each text its prompt and the prompt's length, where its tokens go, and how many at most.
    const uint4* texts;
    u32* counter;
    u16* cache;
    // Tokens and their probabilities.
    float2* out;
};

// After a step: writes the chosen tokens, and takes texts for the slots that are free. By one warp, whose lanes are slots.
struct Clerk {
    // Whether texts may be left, and how often some were asked for.
    bool more = true;
    u32 turn = 0;

    __device__ __forceinline__ void work(u32 step, u32 rank, const Buffers& b, const DecodeParams& p) {
        u32 lane = lane_of();
        Slot slot = {NONE, 0, 0, 0, 0, 0, 0, 0};
        bool freed = false;
        if (step > 0 && lane < ROWS) {
            slot = slots()[lane];
            if (slot.text != NONE) {
                slot.column++;
                if (slot.column >= slot.length) {
                    float2 choice = chosen(lane);
                    u32 written = slot.column - slot.length;
                    slot.token = (u32)choice.x;
                    if (rank == 0) b.out[slot.out + written] = choice;
                    freed = slot.token == p.end || written + 1 == slot.limit;
                    if (freed) slot.text = NONE;
                }
            }
        }
        u32 used = step == 0 ? p.share : ROWS;
        u32 empty = __ballot_sync(0xffffffffu, lane < used && slot.text == NONE);
        // Clusters that begin late would find nothing if others filled up at once.
        bool now = __ballot_sync(0xffffffffu, freed) != 0 || step % 16 == 0;
        if (more && empty && now) more = take_texts(slot, empty, rank, turn++, b.texts, b.counter, p);
        if (slot.text != NONE && slot.column < slot.length) slot.token = b.prompts[slot.prompt + slot.column];
        slot.any = __ballot_sync(0xffffffffu, slot.text != NONE) != 0;
        if (lane < ROWS) slots()[lane] = slot;
        __syncwarp();
        if (lane == 0) barrier_arrive(event(SLOTS_KNOWN), 1);
    }
};

// The rows of the tokens that are next.
__device__ __forceinline__ void embed(const float* embedding) {
    for (u32 row = warp_of(); row < ROWS; row += WARPS) {
        bool live = slots()[row].text != NONE;
        const float2* from = (const float2*)(embedding + (u64)(live ? slots()[row].token : 0) * D);
        float2* to = (float2*)(shared<float>(X_AT) + row * D);
#pragma unroll
        for (int i = 0; i < D / 64; i++) to[i * 32 + lane_of()] = live ? from[i * 32 + lane_of()] : make_float2(0.0f, 0.0f);
    }
    __syncwarp();
}

__device__ __forceinline__ void read_all(u32 rank, const Buffers& b, const DecodeParams& p) {
    const float scale = 1.4426950408889634f * rsqrtf((float)HD);
    u32 normed = smem_address(shared_at(NORMED_AT)), out = smem_address(shared_at(OUT_AT));
    u32 hidden = smem_address(shared_at(HIDDEN_AT));
    Ring ring = {0, 0};
    u32 turn = 0;
    Clerk clerk;
    for (u32 step = 0;; step++) {
        if (warp_of() == 0) clerk.work(step, rank, b, p);
        readers_sync();
        if (!slots()->any) break;
        embed(b.embedding);
        const float* vectors = b.vectors;
        for (u32 layer = 0; layer < p.layers; layer++, turn++, vectors += 5 * D + M) {
            norm_rows(X_AT, layer > 0 ? X_CAME : NOTHING, turn - 1, vectors, vectors + D, p.epsilon);
            multiply<Qkv, PITCH_D>(ring, normed);
            send_qkv(rank);
            receive(QKV_CAME, HELD * 3 * HD * 4, turn);
            attend_all(ring, rank, layer, b.angles, b.cache, scale, p);
            receive(OUT_CAME, ROWS * D * 2, turn);
            multiply<Output, PITCH_D>(ring, out);
            send_sum<Output>(rank, X_AT, nullptr, MIDDLE_AT, MIDDLE_CAME);
            // The new column's keys and values, which will be fetched after stages that are given from here on.
            written_for_copies();
            norm_rows(MIDDLE_AT, MIDDLE_CAME, turn, vectors + 2 * D, vectors + 3 * D, p.epsilon);
            multiply<Up, PITCH_D>(ring, normed);
            send_hidden(rank, vectors + 5 * D);
            receive(HIDDEN_CAME, ROWS * M * 2, turn);
            multiply<Down, PITCH_M>(ring, hidden);
            send_sum<Down>(rank, MIDDLE_AT, vectors + 4 * D, X_AT, X_CAME);
        }
        norm_rows(X_AT, X_CAME, turn - 1, NORM ? vectors : nullptr, vectors + D, p.readout_epsilon);
        multiply<Head, PITCH_D>(ring, normed);
        send_top(rank, vectors + 2 * D);
        if (warp_of() == 0) receive(TOP_CAME, ROWS * BLOCKS * 16, step);
    }
    // What was fetched for a step that is none.
    for (int i = 0; i < Qkv::PARTS * Qkv::STAGES_OF_PART; i++) {
        ring.take();
        ring.give();
    }
}

extern "C" __global__ void __cluster_dims__(BLOCKS, 1, 1) __launch_bounds__(THREADS, TOGETHER)
    decode(const uint4* weights, const float* vectors, const float* embedding, const float2* angles, const u32* prompts,
           const uint4* texts, u32* counter, u16* cache, float2* out, const __grid_constant__ DecodeParams p) {
    u32 rank = cluster_rank();
    if (threadIdx.x == 0) {
        for (Ring ring = {0, 0}; ring.parity == 0; ring.go_on()) {
            barrier_init(ring.filled(), 1);
            barrier_init(ring.emptied(), WARPS);
        }
        for (int which = QKV_CAME; which <= SLOTS_KNOWN; which++) barrier_init(event(which), 1);
        barriers_initialised();
    }
    // Nobody writes to a block that has not begun, nor to one that has ended.
    cluster_sync();
    constexpr u32 LAYER = Qkv::COUNT + Output::COUNT + Up::COUNT + Down::COUNT;
    weights += (u64)rank * (p.layers * LAYER + Head::COUNT) * (UNIT / 16);
    if (warp_of() < WARPS) {
        read_all(rank, {weights, vectors, embedding, angles, prompts, texts, counter, cache, out}, p);
    } else if (lane_of() == 0) {
        fetch_all(weights, cache, rank, p);
    }
    __syncwarp();
    cluster_sync();
}
