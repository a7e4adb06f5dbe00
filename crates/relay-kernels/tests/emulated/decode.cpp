// Whole generations of small models, as decode.rs launches them, against a plain computation of every text's logits.
//
// Only the plain computation sums in another order, and does not round the weights of attention. So two numbers may round
// to bf16 differently, and what follows from them is off by a share of all that is added up.
#include "check.h"
#include "cluster.h"

#include "common.cuh"
#include "barrier.cuh"
#include "cluster.cuh"
#include "decode.cuh"
#include "decode_layer.cuh"
#include "decode.cu"
#include "rows.cuh"
#include "pack.cu"

constexpr u32 LAYERS = 2;
constexpr float BASE = 10000.0f, EPSILON = 1e-5f;
// How far probabilities may be off, and a chosen token's logit below the largest.
constexpr double NEAR = 0.02;

struct Layer {
    std::vector<float> vectors, query, key, value, output, up, down;
};
struct Model {
    std::vector<Layer> layers;
    std::vector<float> embedding, readout, head;
};

static std::vector<float> joined(std::initializer_list<std::vector<float>> parts) {
    std::vector<float> all;
    for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
    return all;
}
static std::vector<float> around(float middle, size_t count, u32 seed) {
    std::vector<float> numbers = random_floats(count, seed, 0.3f);
    for (float& x : numbers) x += middle;
    return numbers;
}

static Model model() {
    Model model;
    float narrow = 2.0f / std::sqrt((float)D), wide = 2.0f / std::sqrt((float)M);
    for (u32 layer = 0; layer < LAYERS; layer++) {
        u32 seed = 20 * layer + 1;
        auto square = [&] { return random_floats(D * D, seed++, narrow); };
        Layer its;
        its.vectors = joined({around(1, D, seed), around(0, D, seed + 1), around(1, D, seed + 2), around(0, D, seed + 3),
                              around(0, D, seed + 4), around(0, M, seed + 5)});
        seed += 6;
        its.query = square(), its.key = square(), its.value = square(), its.output = square();
        its.up = random_floats(D * M, seed++, narrow), its.down = random_floats(M * D, seed++, wide);
        model.layers.push_back(its);
    }
    model.embedding = random_floats(VOCAB * D, 101, 2.0f);
    model.readout = joined({around(1, D, 102), around(0, D, 103), random_floats(VOCAB, 104)});
    model.head = random_floats(D * VOCAB, 105, narrow);
    return model;
}

static double half(double x) { return from_half(to_half((float)x)); }

// Row-major [rows, outer] of a product with a matrix that is rounded.
static std::vector<double> times(const std::vector<double>& x, const std::vector<float>& w, u32 inner) {
    u32 rows = x.size() / inner, outer = w.size() / inner;
    std::vector<double> out(rows * outer);
    for (u32 row = 0; row < rows; row++)
        for (u32 k = 0; k < inner; k++)
            for (u32 i = 0; i < outer; i++) out[row * outer + i] += x[row * inner + k] * half(w[k * outer + i]);
    return out;
}
static std::vector<double> normed(std::vector<double> x, const float* gamma, const float* beta) {
    for (size_t row = 0; row < x.size() / D; row++) {
        double mean = 0.0, squares = 0.0;
        for (u32 i = 0; i < D; i++) mean += x[row * D + i] / D;
        for (u32 i = 0; i < D; i++) squares += std::pow(x[row * D + i] - mean, 2) / D;
        for (u32 i = 0; i < D; i++) {
            double& at = x[row * D + i];
            at = half((at - mean) / std::sqrt(squares + EPSILON) * gamma[i] + beta[i]);
        }
    }
    return x;
}
static void turn(double* head, u32 column) {
    for (u32 i = 0; i < HD / 2 && ROPE; i++) {
        double angle = column * std::pow(BASE, -2.0 * i / HD), a = head[i], b = head[i + HD / 2];
        head[i] = a * std::cos(angle) - b * std::sin(angle), head[i + HD / 2] = b * std::cos(angle) + a * std::sin(angle);
    }
    for (u32 i = 0; i < HD; i++) head[i] = half(head[i]);
}

// Logits after every token of a text.
static std::vector<double> logits(const Model& model, const std::vector<u32>& text) {
    u32 width = text.size();
    std::vector<double> x;
    for (u32 token : text) x.insert(x.end(), &model.embedding[token * D], &model.embedding[token * D] + D);
    for (const Layer& layer : model.layers) {
        const float* vectors = layer.vectors.data();
        std::vector<double> normal = normed(x, vectors, vectors + D), out(width * D);
        auto q = times(normal, layer.query, D), k = times(normal, layer.key, D), v = times(normal, layer.value, D);
        for (double& at : v) at = half(at);
        for (u32 head = 0; head < HEADS; head++) {
            for (u32 row = 0; row < width; row++) turn(&q[row * D + head * HD], row), turn(&k[row * D + head * HD], row);
            for (u32 row = 0; row < width; row++) {
                std::vector<double> weight(row + 1);
                double sum = 0.0;
                for (u32 key = 0; key <= row; key++) {
                    double score = 0.0;
                    for (u32 i = 0; i < HD; i++) score += q[row * D + head * HD + i] * k[key * D + head * HD + i];
                    sum += weight[key] = std::exp(score / std::sqrt((double)HD));
                }
                for (u32 i = 0; i < HD; i++) {
                    double& to = out[row * D + head * HD + i];
                    for (u32 key = 0; key <= row; key++) to += weight[key] / sum * v[key * D + head * HD + i];
                    to = half(to);
                }
            }
        }
        auto middle = times(out, layer.output, D);
        for (size_t i = 0; i < x.size(); i++) x[i] += middle[i];
        auto hidden = times(normed(x, vectors + 2 * D, vectors + 3 * D), layer.up, D);
        for (size_t i = 0; i < hidden.size(); i++) {
            double u = hidden[i] + vectors[5 * D + i % M];
            hidden[i] = half(0.5 * u * std::erfc(-u / std::sqrt(2.0)));
        }
        auto last = times(hidden, layer.down, M);
        for (size_t i = 0; i < x.size(); i++) x[i] += last[i] + vectors[4 * D + i % D];
    }
    if (NORM) x = normed(x, model.readout.data(), model.readout.data() + D);
    for (double& at : x) at = half(at);
    auto all = times(x, model.head, D);
    for (size_t i = 0; i < all.size(); i++) all[i] += model.readout[2 * D + i % VOCAB];
    return all;
}

constexpr u32 LAYER_UNITS = Qkv::COUNT + Output::COUNT + Up::COUNT + Down::COUNT, TOTAL = LAYERS * LAYER_UNITS + Head::COUNT;

template <typename S>
static void place(Buffer<u16>& units, const std::vector<float>& w, u32 inner, u32 column, u32 begin) {
    Buffer<float> matrix(w);
    u32 outer = w.size() / inner;
    machine::launch({(inner * outer + 255) / 256, 1, 1}, 256, 0, [&] {
        pack_fragments(matrix.data(), units.data(),
                       {inner, outer, column, S::TILES, S::PARTS, S::STEPS, begin, TOTAL});
    });
}
static void pack_all(Buffer<u16>& units, const Model& model) {
    memset(units.data(), 0, 2 * units.size());
    u32 begin = 0;
    for (const Layer& layer : model.layers) {
        place<Qkv>(units, layer.query, D, 0, begin);
        place<Qkv>(units, layer.key, D, D, begin);
        place<Qkv>(units, layer.value, D, 2 * D, begin);
        place<Output>(units, layer.output, D, 0, begin += Qkv::COUNT);
        place<Up>(units, layer.up, D, 0, begin += Output::COUNT);
        place<Down>(units, layer.down, M, 0, begin += Up::COUNT);
        begin += Down::COUNT;
    }
    place<Head>(units, model.head, D, 0, begin);
}

// What lane `at % 32` of unit `at / 32 / 8` holds as a left operand, of the first block's first product.
static void packed(const Buffer<u16>& units, const Model& model) {
    Outcome outcome("pack_fragments/" + std::to_string(D));
    outcome.guarded(units);
    for (u32 at = 0; at < 256 * Qkv::TILES * Qkv::STEPS; at++) {
        u32 unit = at / 256, lane = at / 8 % 32, word = at / 2 % 4;
        u32 column = unit % Qkv::TILES * 16 + lane / 4 + word % 2 * 8;
        u32 inner = unit / Qkv::TILES * 16 + lane % 4 * 2 + word / 2 * 8 + at % 2;
        outcome.near(at, from_half(units[at]), half(model.layers[0].query[inner * D + column]), 0.0);
    }
}

struct Text {
    std::vector<u32> prompt;
    u32 limit;
};

static void generate(const std::string& name, const Model& model, Buffer<u16>& units, const std::vector<Text>& all, u32 end,
                     u32 clusters, u32 share) {
    std::vector<u32> prompts;
    std::vector<uint4> described;
    u32 room = 0, longest = 0;
    for (const Text& text : all) {
        described.push_back({(u32)prompts.size(), (u32)text.prompt.size(), room, text.limit});
        prompts.insert(prompts.end(), text.prompt.begin(), text.prompt.end());
        room += text.limit, longest = max(longest, (u32)text.prompt.size() + text.limit - 1);
    }
    std::vector<float> vectors;
    for (const Layer& layer : model.layers) vectors = joined({vectors, layer.vectors});
    std::vector<float2> angles;
    for (u32 at = 0; at < longest * (HD / 2); at++) {
        double angle = at / (HD / 2) * std::pow(BASE, -2.0 * (at % (HD / 2)) / HD);
        angles.push_back({(float)std::cos(angle), (float)std::sin(angle)});
    }
    Buffer<float> vector(joined({vectors, model.readout})), embedding(model.embedding);
    Buffer<float2> angle(angles), out(room);
    Buffer<u32> prompt(prompts), counter(std::vector<u32>{0});
    Buffer<uint4> text(described);
    Buffer<u16> cache((size_t)clusters * ROWS * LAYERS * HEADS * longest * 2 * HD);
    machine::launch(
        {8 * clusters, 1, 1}, THREADS, SHARED,
        [&] {
            decode((const uint4*)units.data(), vector.data(), embedding.data(), angle.data(), prompt.data(), text.data(),
                   counter.data(), cache.data(), out.data(),
                   {(u32)all.size(), end, LAYERS, longest, share, EPSILON, EPSILON});
        },
        8);
    Outcome tokens("decode/" + name + "/tokens"), probabilities("decode/" + name + "/probabilities");
    tokens.guarded(out), tokens.guarded(cache), tokens.guarded(counter);
    for (size_t index = 0; index < all.size(); index++) {
        std::vector<u32> read = all[index].prompt;
        u32 place = described[index].z, count = 0;
        bool ended = false;
        for (; count < all[index].limit && !ended; count++) {
            read.push_back(out.unwritten(place + count) ? 0 : (u32)out[place + count].x);
            ended = read.back() == end;
        }
        std::vector<double> rows = logits(model, read);
        for (u32 i = 0; i < count; i++) {
            const double* row = &rows[(all[index].prompt.size() - 1 + i) * VOCAB];
            double most = -INFINITY, sum = 0.0;
            for (u32 token = 0; token < VOCAB; token++) most = std::fmax(most, row[token]);
            for (u32 token = 0; token < VOCAB; token++) sum += std::exp(row[token] - most);
            tokens.near(place + i, row[read[all[index].prompt.size() + i]], most, NEAR);
            probabilities.near(place + i, out[place + i].y, 1.0 / sum, NEAR);
        }
        for (u32 i = count; i < all[index].limit; i++)
            if (!out.unwritten(place + i)) tokens.near(place + i, 1.0, 0.0, 0.0);
    }
}

int main() {
    std::string sizes = std::to_string(D) + "x" + std::to_string(M) + "/heads=" + std::to_string(HEADS) + "x" +
                        std::to_string(HD) + "/rows=" + std::to_string(ROWS) + "/";
    Model its = model();
    Buffer<u16> units((size_t)8 * TOTAL * UNIT / 2);
    pack_all(units, its);
    packed(units, its);
    auto text = [](u32 length, u32 limit) {
        std::vector<u32> prompt(length);
        for (u32 at = 0; at < length; at++) prompt[at] = (length * 7 + at * at * 3 + at) % VOCAB;
        return Text{prompt, limit};
    };
    // More than a stage of keys and values has room for, and the shortest.
    std::vector<Text> few = {text(3, LONG), text(1, 1), text(LONG, 2)};
    generate(sizes + "few", its, units, few, VOCAB, 1, 4);
    // More than there are slots for.
    std::vector<Text> many;
    for (u32 i = 0; i < ROWS + 5; i++) many.push_back(text(1 + i % 6, 1 + i * 5 % 9));
    generate(sizes + "many", its, units, many, VOCAB, 2, ROWS);
    generate(sizes + "ends", its, units, many, 3, 2, 2);
    // A pass of a pair of warps without a text, between passes with long ones.
    std::vector<Text> around(8, text(66, 2));
    around[3] = text(1, 1);
    if (PASSES > 2) generate(sizes + "gap", its, units, around, VOCAB, 1, 8);
    return failures != 0;
}
