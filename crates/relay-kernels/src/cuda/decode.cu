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
// mma16816. The transposed product comes out: its columns are texts. Keys and values lie
// [slot, layer, head, column, (k, v), HD] in bf16; pieces of 16 bytes of a column are swapped by the column's last three
// bits, so that ldmatrix finds eight columns in different banks.
//
// Defines: D, M, HEADS, HD (32 or 64), VOCAB, NORM (of the states that are read out), ROPE; ROWS (8, 16 or 32), STAGES,
// TOGETHER, the blocks that a multiprocessor has at a time.
// Launch: clusters of 8 blocks of THREADS threads, with SHARED bytes of dynamic shared memory.

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
        if (lane == 0) barrier_arrive(event(SLOTS_KNOWN));
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
        all_for_copies();
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
