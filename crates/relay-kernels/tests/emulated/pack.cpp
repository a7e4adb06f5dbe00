// Matrices for the products, as weights.rs launches them.
#include "check.h"

#include "common.cuh"
#include "halves.h"
#include "pack.cu"

static void packed(u32 inputs, u32 outputs, u32 column, u32 total) {
    Buffer<float> w(random_floats(inputs * outputs, 1));
    Matrix rows(inputs, total), transposed(total, inputs);
    machine::launch({(outputs + 31) / 32, (inputs + 31) / 32, 1}, 256, 0,
                    [&] { pack(w.data(), rows.data(), transposed.data(), {inputs, outputs, column, total}); });
    Outcome outcome("pack/" + std::to_string(inputs) + "x" + std::to_string(outputs) + "/at=" + std::to_string(column) +
                    "/of=" + std::to_string(total) + halves_name());
    outcome.guarded(rows), outcome.guarded(transposed);
    for (u32 input = 0; input < inputs; input++)
        for (u32 at = 0; at < total; at++) {
            u32 by_rows = input * total + at, by_columns = at * inputs + input;
            if (at < column || at >= column + outputs) {
                untouched(outcome, rows, by_rows), untouched(outcome, transposed, by_columns);
                continue;
            }
            double wanted = w[input * outputs + at - column];
            near_half(outcome, by_rows, rows, wanted, 0.0);
            outcome.near(by_columns, transposed.value(by_columns), rows.value(by_rows), 0.0);
        }
}

static void taken(u32 inputs, u32 outputs, u32 column, u32 total) {
    Buffer<float> all(random_floats(inputs * total, 2)), out(inputs * outputs);
    machine::launch({(inputs * outputs + 255) / 256, 1, 1}, 256, 0,
                    [&] { take_columns(all.data(), out.data(), {inputs, outputs, column, total}); });
    Outcome outcome("take_columns/" + std::to_string(inputs) + "x" + std::to_string(outputs) + "/at=" +
                    std::to_string(column));
    outcome.guarded(out);
    for (u32 at = 0; at < inputs * outputs; at++)
        outcome.near(at, out[at], all[at / outputs * total + column + at % outputs], 0.0);
}

// The element of row r and column c of a slab is number c of its row, whose groups of eight are exchanged by bits of r.
static void arranged(u32 rows, u32 columns, u32 by_columns) {
    u32 down = (rows + 127) / 128, right = columns / 64;
    Buffer<u16> matrix(random_halves(rows * columns, 3)), slabs(down * right * 8192);
    machine::launch({right, down, 1}, 256, 0, [&] { arrange(matrix.data(), slabs.data(), {rows, columns, by_columns}); });
    Outcome outcome("arrange/" + std::to_string(rows) + "x" + std::to_string(columns) + (by_columns ? "/by columns" : ""));
    outcome.guarded(slabs);
    for (u32 at = 0; at < slabs.size(); at++) {
        u32 slab = at / 8192, row = at % 8192 / 64, group = at % 64 / 8 ^ row % 8;
        row += (by_columns ? slab % down : slab / right) * 128;
        u32 column = (by_columns ? slab / down : slab % right) * 64 + group * 8 + at % 8;
        outcome.near(at, from_half(slabs[at]), row < rows ? from_half(matrix[row * columns + column]) : 0.0, 0.0);
    }
}

int main() {
    arranged(256, 128, 0);
    arranged(256, 192, 1);
    arranged(130, 64, 0);
    arranged(1, 128, 1);
    taken(64, 64, 128, 192);
    taken(5, 70, 3, 80);
    taken(1, 300, 0, 300);
    packed(64, 64, 0, 64);
    packed(64, 64, 64, 192);
    packed(70, 37, 0, 128);
    packed(1, 33, 2, 40);
    return failures != 0;
}
