// Networks for Levenberg-Marquardt, of one instruction set: this file is compiled once for each.
//
// All samples pass through the network in blocks that stay in the cache. At each sample only degree + 1 splines of an
// edge live, so values, slopes and gradients cost the same on any grid. For the Gauss-Newton matrix there are two ways:
// the Jacobian of a block as a dense matrix times itself, where the multiply-adds run at the peak of the machine; and
// for every pair of edges the few products that are not zero, of which there are fewer on finer grids.
#include "jacobian.h"
#include "bspline.h"
#include "grid.h"

#include <stdlib.h>

namespace SUPERPOSE_ISA {
namespace {

typedef double T;
typedef vec<T> V;
constexpr int L = lanes<T>;
constexpr int64_t BLOCK = 32; // samples: their Jacobian fits the first-level cache for some 150 parameters
constexpr int TILE_ROWS = L == 8 ? 8 : 4, TILE_VECTORS = 3; // as many sums as there are registers for; rows in whole vectors

INLINE int64_t padded(int64_t count) { return (count + L - 1) / L * L; }

// An input of a layer at one sample: weights of the splines that live there and their derivatives, and where they begin.
struct Local {
    quad<T> value, slope;
    T base, base_slope;
    int64_t first;
};

// The splines of one input.
struct Splines {
    const T *left;          // ends of the intervals
    const Piece<T> *pieces; // one for each interval
    const T *rates;         // 1 / width of each interval
};

// A layer of one network, made ready.
struct Layer {
    int64_t inputs, outputs, features, strip; // features of an input; outputs padded to whole vectors
    int64_t start;                            // of the layer's parameters
    const Splines *splines;
    T *rows;     // inputs x features x strip: the matrix with the outputs last
    T *gradient; // the same for the gradient
    Local *local;  // samples of a block x inputs
    T *input;      // samples of a block x inputs
    T *adjoint;    // samples of a block x (rows + 1) x strip
};

// Memory taken piece by piece from one block; without a block it counts what is needed.
struct Arena {
    char *base;
    int64_t used;
    template <typename A> A *take(int64_t count) {
        A *here = base ? (A *)(base + used) : nullptr;
        used += (count * (int64_t)sizeof(A) + 63) / 64 * 64;
        return here;
    }
};

struct Network {
    Layer *layers;
    T *jacobian; // BLOCK x padded parameters, for one row of the root
    T *hessian;  // padded x padded, upper half
    int64_t parameters, width;
};

template <int K> static void prepare(Splines &splines, const T *knots, int64_t intervals, Piece<T> *pieces, T *rates) {
    for (int64_t s = 0; s < intervals; s++) {
        make_piece<T, K>(knots + s, pieces[s]);
        rates[s] = (T)1 / (knots[K + s + 1] - knots[K + s]);
    }
    splines = {knots + K, pieces, rates};
}

// The interval of a point of the domain: the last one holds its right end, and what is not a number lies in the first.
INLINE int64_t interval_of(const T *left, int64_t intervals, T x) {
    int64_t first = 0;
    for (int64_t count = intervals; count > 1;) {
        const int64_t half = count / 2;
        first += x >= left[first + half] ? half : 0;
        count -= half;
    }
    return first;
}

// sum_j (C_{j+1} - C_j) slope_j, by coefficients
template <int K> INLINE quad<T> by_coefficients(quad<T> slope) {
    quad<T> own = {-slope[0], 0, 0, 0};
    for (int j = 1; j < K; j++) own[j] = slope[j - 1] - slope[j];
    own[K] = slope[K - 1];
    return own;
}

// Where the parts of a network lie in memory; `fresh` writes what a pass begins with.
template <int K> static Network plan(const NetworkCall &call, int64_t which, Arena memory, bool fresh, int64_t *size) {
    Network net;
    net.layers = memory.take<Layer>(call.layers);
    net.parameters = 0;
    for (int64_t l = 0; l < call.layers; l++) {
        const NetworkLayer &given = call.layer(l);
        const int64_t inputs = given.inputs, outputs = given.outputs, features = 1 + given.intervals + K;
        const int64_t strip = padded(outputs);
        Splines *splines = memory.take<Splines>(inputs);
        Piece<T> *pieces = memory.take<Piece<T>>(inputs * given.intervals);
        T *rates = memory.take<T>(inputs * given.intervals);
        T *rows = memory.take<T>(inputs * features * strip);
        T *gradient = memory.take<T>(call.root ? inputs * features * strip : 0);
        Local *local = memory.take<Local>(BLOCK * inputs);
        T *input = memory.take<T>(BLOCK * inputs + L);
        T *adjoint = memory.take<T>(call.root ? BLOCK * (call.rows + 1) * strip : 0);
        if (memory.base)
            net.layers[l] = {inputs, outputs, features, strip, net.parameters, splines, rows, gradient, local, input, adjoint};
        if (fresh) {
            const int64_t count = given.intervals + 2 * K + 1;
            for (int64_t i = 0; i < inputs; i++)
                prepare<K>(splines[i], given.knots + (which * inputs + i) * count, given.intervals,
                           pieces + i * given.intervals, rates + i * given.intervals);
            memset(rows, 0, inputs * features * strip * sizeof(T));
            const T *matrix = given.matrix + which * outputs * inputs * features;
            for (int64_t o = 0; o < outputs; o++)
                for (int64_t f = 0; f < inputs * features; f++) rows[f * strip + o] = matrix[o * inputs * features + f];
            if (call.root) memset(gradient, 0, inputs * features * strip * sizeof(T));
        }
        net.parameters += outputs * inputs * features;
    }
    net.width = (net.parameters + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS;
    net.jacobian = memory.take<T>(call.root ? BLOCK * net.width : 0);
    net.hessian = memory.take<T>(call.root ? net.width * net.width : 0);
    if (fresh && call.root) memset(net.hessian, 0, net.width * net.width * sizeof(T));
    *size = memory.used;
    return net;
}

// The base function of the inputs of a block, and where they lie among the splines.
template <int K, bool SLOPES> static void locate(const NetworkCall &call, const Layer &layer, int64_t intervals, int64_t samples) {
    const int64_t count = samples * layer.inputs;
    for (int64_t at = 0; at < count; at += L) {
        V value = load<V>(layer.input + at), slope = V{} + 1.0;
        if (call.base) {
            const V x = value;
            silu<T>(x, value, slope);
        }
        T values[L], slopes[L];
        store(values, value), store(slopes, slope);
        for (int64_t j = 0; j < L && at + j < count; j++)
            layer.local[at + j].base = values[j], layer.local[at + j].base_slope = slopes[j];
    }
    for (int64_t b = 0; b < samples; b++)
        for (int64_t i = 0; i < layer.inputs; i++) {
            Local &local = layer.local[b * layer.inputs + i];
            const Splines &splines = layer.splines[i];
            const T x = layer.input[b * layer.inputs + i], low = splines.left[0], high = splines.left[intervals];
            const T inside = x < low ? low : x > high ? high : x, beyond = x - inside;
            const int64_t s = interval_of(splines.left, intervals, inside);
            const Piece<T> &piece = splines.pieces[s];
            const T share = (inside - splines.left[s]) * splines.rates[s];
            quad<T> value = piece.value[K];
            for (int p = K - 1; p >= 0; p--) value = value * share + piece.value[p];
            local.first = s;
            if (SLOPES || beyond != 0) {
                quad<T> slope = piece.slope[K - 1];
                for (int p = K - 2; p >= 0; p--) slope = slope * share + piece.slope[p];
                slope = by_coefficients<K>(slope * splines.rates[s]);
                if (call.extrapolation == 0) value += beyond * slope;
                else if (beyond != 0) {
                    slope *= (T)0;
                    if (call.extrapolation == 2) value *= (T)0;
                }
                local.slope = slope;
            }
            local.value = value;
        }
}

template <int K> static void apply(const Layer &layer, int64_t samples, T *y, int64_t y_stride) {
    for (int64_t b = 0; b < samples; b++, y += y_stride)
        for (int64_t v = 0; v < layer.strip; v += L) {
            V sums[2] = {};
            const Local *local = layer.local + b * layer.inputs;
            const T *rows = layer.rows + v;
            for (int64_t i = 0; i < layer.inputs; i++, local++, rows += layer.features * layer.strip) {
                const T *own = rows + (1 + local->first) * layer.strip;
                sums[1] += local->base * load<V>(rows);
                for (int j = 0; j <= K; j++) sums[j & 1] += local->value[j] * load<V>(own + j * layer.strip);
            }
            const V out = sums[0] + sums[1];
            if (layer.outputs - v >= L) store(y + v, out);
            else store_part(y + v, out, (int)(layer.outputs - v));
        }
}

// What the slopes by the outputs of a layer are by its inputs, for all rows of the root and the slopes of the loss.
template <int K> static void pull_back(const Layer &layer, const Layer &before, int64_t samples, int64_t rows) {
    memset(before.adjoint, 0, samples * rows * before.strip * sizeof(T));
    for (int64_t b = 0; b < samples; b++)
        for (int64_t i = 0; i < layer.inputs; i++) {
            const Local &local = layer.local[b * layer.inputs + i];
            const T *own = layer.rows + i * layer.features * layer.strip, *row = own + (1 + local.first) * layer.strip;
            for (int64_t v = 0; v < layer.strip; v += L) {
                V slope = local.base_slope * load<V>(own + v);
                for (int j = 0; j <= K; j++) slope += local.slope[j] * load<V>(row + j * layer.strip + v);
                for (int64_t r = 0; r < rows; r++) {
                    const T *adjoint = layer.adjoint + (b * rows + r) * layer.strip + v;
                    before.adjoint[(b * rows + r) * before.strip + i] +=
                        layer.outputs == 1 ? adjoint[0] * slope[0] : sum(load<V>(adjoint) * slope);
                }
            }
        }
}

template <int K> static void add_gradient(const Layer &layer, int64_t samples, int64_t rows) {
    for (int64_t b = 0; b < samples; b++) {
        const T *adjoint = layer.adjoint + (b * rows + rows - 1) * layer.strip;
        const Local *local = layer.local + b * layer.inputs;
        T *own = layer.gradient;
        for (int64_t i = 0; i < layer.inputs; i++, local++, own += layer.features * layer.strip) {
            T *row = own + (1 + local->first) * layer.strip;
            for (int64_t v = 0; v < layer.strip; v += L) {
                const V slope = load<V>(adjoint + v);
                store(own + v, load<V>(own + v) + local->base * slope);
                for (int j = 0; j <= K; j++)
                    store(row + j * layer.strip + v, load<V>(row + j * layer.strip + v) + local->value[j] * slope);
            }
        }
    }
}

// One row of the root for every sample of a block, by all parameters.
template <int K> static void fill_jacobian(const NetworkCall &call, const Network &net, int64_t samples, int64_t row) {
    memset(net.jacobian, 0, samples * net.width * sizeof(T));
    for (int64_t b = 0; b < samples; b++)
        for (int64_t l = 0; l < call.layers; l++) {
            const Layer &layer = net.layers[l];
            T *to = net.jacobian + b * net.width + layer.start;
            const T *adjoint = layer.adjoint + (b * (call.rows + 1) + row) * layer.strip;
            for (int64_t o = 0; o < layer.outputs; o++) {
                const Local *local = layer.local + b * layer.inputs;
                for (int64_t i = 0; i < layer.inputs; i++, local++, to += layer.features) {
                    to[0] = adjoint[o] * local->base;
                    const quad<T> value = adjoint[o] * local->value;
                    for (int j = 0; j <= K; j++) to[1 + local->first + j] = value[j];
                }
            }
        }
}

template <int NV> static void add_tile(const T *jacobian, int64_t width, int64_t samples, int64_t row, int64_t column, T *to) {
    V sums[TILE_ROWS][NV];
    for (int r = 0; r < TILE_ROWS; r++)
        for (int v = 0; v < NV; v++) sums[r][v] = load<V>(to + r * width + v * L);
    for (int64_t b = 0; b < samples; b++, jacobian += width) {
        V right[NV];
        for (int v = 0; v < NV; v++) right[v] = load<V>(jacobian + column + v * L);
#pragma GCC unroll 8
        for (int r = 0; r < TILE_ROWS; r++) {
            const T left = jacobian[row + r];
#pragma GCC unroll 4
            for (int v = 0; v < NV; v++) sums[r][v] += left * right[v];
        }
    }
    for (int r = 0; r < TILE_ROWS; r++)
        for (int v = 0; v < NV; v++) store(to + r * width + v * L, sums[r][v]);
}

// The upper half of the Jacobian times itself, in tiles that stay in registers.
static void add_dense(const Network &net, int64_t samples) {
    for (int64_t column = 0; column < net.width; column += TILE_VECTORS * L) {
        const int64_t vectors = (net.width - column) / L < TILE_VECTORS ? (net.width - column) / L : TILE_VECTORS;
        for (int64_t row = 0; row < column + vectors * L; row += TILE_ROWS) {
            T *to = net.hessian + row * net.width + column;
            if (vectors == 3) add_tile<3>(net.jacobian, net.width, samples, row, column, to);
            else if (vectors == 2) add_tile<2>(net.jacobian, net.width, samples, row, column, to);
            else add_tile<1>(net.jacobian, net.width, samples, row, column, to);
        }
    }
}

// For every pair of inputs and of outputs above them the products that are not zero.
template <int K> static void add_pairs(const NetworkCall &call, const Network &net, int64_t samples, int64_t row) {
    for (int64_t l = 0; l < call.layers; l++)
        for (int64_t m = l; m < call.layers; m++) {
            const Layer &first = net.layers[l], &second = net.layers[m];
            const int64_t first_stride = (call.rows + 1) * first.strip, second_stride = (call.rows + 1) * second.strip;
            for (int64_t o = 0; o < first.outputs; o++)
                for (int64_t p = l == m ? o : 0; p < second.outputs; p++)
                    for (int64_t i = 0; i < first.inputs; i++)
                        for (int64_t j = l == m && o == p ? i : 0; j < second.inputs; j++) {
                            T *block = net.hessian + (first.start + (o * first.inputs + i) * first.features) * net.width +
                                       second.start + (p * second.inputs + j) * second.features;
                            const T *left = first.adjoint + row * first.strip + o;
                            const T *right = second.adjoint + row * second.strip + p;
                            const Local *at = first.local + i, *with = second.local + j;
                            for (int64_t b = 0; b < samples; b++) {
                                const T scale = *left * *right;
                                const quad<T> values = scale * with->value;
                                const T base = scale * with->base;
                                T *to = block + 1 + with->first;
                                block[0] += at->base * base;
                                for (int c = 0; c <= K; c++) to[c] += at->base * values[c];
                                T *line = block + (1 + at->first) * net.width;
                                for (int r = 0; r <= K; r++, line += net.width) {
                                    line[0] += at->value[r] * base;
                                    T *near = line + 1 + with->first;
                                    if (K == 3) store(near, load<quad<T>>(near) + at->value[r] * values);
                                    else
                                        for (int c = 0; c <= K; c++) near[c] += at->value[r] * values[c];
                                }
                                left += first_stride, right += second_stride;
                                at += first.inputs, with += second.inputs;
                            }
                        }
        }
}

// The cheaper way: a pair of edges costs as much as so many numbers of the dense matrix, by measurement on 2-5-1 with 5 to
// 20 intervals. Both ways then take a third to a tenth of the time of a Jacobian in memory and a product by MKL.
static bool is_dense(const NetworkCall &call, const Network &net) {
    constexpr int64_t PAIR = L == 8 ? 180 : L == 4 ? 130 : 50;
    int64_t edges = 0;
    for (int64_t l = 0; l < call.layers; l++) edges += net.layers[l].inputs * net.layers[l].outputs;
    return net.parameters * net.parameters <= PAIR * edges * (edges + 1);
}

// Samples `first` to `last` of one network.
template <int K>
static void pass(const NetworkCall &call, int64_t which, const Network &net, int64_t first, int64_t last) {
    const int64_t rows = call.rows + 1, outputs = call.layer(call.layers - 1).outputs;
    const bool dense = call.root && is_dense(call, net);
    for (int64_t start = first; start < last; start += BLOCK) {
        const int64_t samples = last - start < BLOCK ? last - start : BLOCK;
        memcpy(net.layers[0].input, call.x + ((call.own ? which * call.samples : 0) + start) * net.layers[0].inputs, samples * net.layers[0].inputs * sizeof(T));
        for (int64_t l = 0; l < call.layers; l++) {
            const Layer &layer = net.layers[l];
            if (call.root && l > 0) locate<K, true>(call, layer, call.layer(l).intervals, samples);
            else locate<K, false>(call, layer, call.layer(l).intervals, samples);
            T *y = call.layer(l).y;
            if (y) y += (which * call.samples + start) * layer.outputs;
            if (l + 1 < call.layers) {
                apply<K>(layer, samples, net.layers[l + 1].input, layer.outputs);
                if (y) memcpy(y, net.layers[l + 1].input, samples * layer.outputs * sizeof(T));
            } else if (y) apply<K>(layer, samples, y, layer.outputs);
        }
        if (!call.root) continue;
        const Layer &top = net.layers[call.layers - 1];
        for (int64_t b = 0; b < samples; b++) {
            const int64_t at = which * call.samples + start + b;
            T *to = top.adjoint + b * rows * top.strip;
            memset(to, 0, rows * top.strip * sizeof(T));
            for (int64_t r = 0; r < call.rows; r++)
                memcpy(to + r * top.strip, call.root + (at * call.rows + r) * outputs, outputs * sizeof(T));
            memcpy(to + call.rows * top.strip, call.slopes + at * outputs, outputs * sizeof(T));
        }
        for (int64_t l = call.layers - 1; l > 0; l--) pull_back<K>(net.layers[l], net.layers[l - 1], samples, rows);
        for (int64_t l = 0; l < call.layers; l++) add_gradient<K>(net.layers[l], samples, rows);
        for (int64_t r = 0; r < call.rows; r++)
            if (dense) {
                fill_jacobian<K>(call, net, samples, r);
                add_dense(net, samples);
            } else add_pairs<K>(call, net, samples, r);
    }
}

// Adds up the shares of a network.
static void write_out(const NetworkCall &call, const Network *nets, int64_t shares, int64_t which) {
    const int64_t size = nets->parameters;
    T *gradient = call.gradient + which * size, *hessian = call.hessian + which * size * size;
    memset(gradient, 0, size * sizeof(T));
    for (int64_t share = 0; share < shares; share++) {
        const Network &net = nets[share];
        for (int64_t l = 0; l < call.layers; l++) {
            const Layer &layer = net.layers[l];
            const int64_t columns = layer.inputs * layer.features;
            for (int64_t o = 0; o < layer.outputs; o++)
                for (int64_t f = 0; f < columns; f++)
                    gradient[layer.start + o * columns + f] += layer.gradient[f * layer.strip + o];
        }
        for (int64_t row = 0; row < size; row++) {
            T *to = hessian + row * size;
            const T *from = net.hessian + row * net.width;
            for (int64_t column = row; column < size; column++) to[column] = from[column] + (share ? to[column] : 0);
        }
    }
    for (int64_t row = 0; row < size; row++)
        for (int64_t column = 0; column < row; column++) hessian[row * size + column] = hessian[column * size + row];
}

// One part is one share of the samples of one network.
struct Work {
    const NetworkCall &call;
    int64_t shares, size;
    char *memory;
};

template <int K> static void run_share(void *context, int64_t part) {
    const Work &work = *(const Work *)context;
    const int64_t which = part / work.shares, share = part % work.shares, samples = work.call.samples;
    int64_t size;
    // A network that is not shared gives its memory back at once, so that the next one finds it in the cache.
    char *own = work.memory ? work.memory + part * work.size : (char *)aligned_alloc(64, (size_t)work.size);
    if (!own) abort();
    const Network net = plan<K>(work.call, which, {own, 0}, true, &size);
    pass<K>(work.call, which, net, samples * share / work.shares, samples * (share + 1) / work.shares);
    if (work.memory) return;
    if (work.call.root) write_out(work.call, &net, 1, which);
    free(own);
}

template <int K> static void run_sum(void *context, int64_t which) {
    const Work &work = *(const Work *)context;
    Network nets[64];
    int64_t size;
    for (int64_t share = 0; share < work.shares; share++)
        nets[share] = plan<K>(work.call, which, {work.memory + (which * work.shares + share) * work.size, 0}, false, &size);
    write_out(work.call, nets, work.shares, which);
}

template <int K> static void run(const NetworkCall &call) {
    // The shares depend on the numbers of threads and samples alone, so that equal calls give equal bits.
    int64_t shares = call.threads / call.networks;
    if (shares > call.samples / (8 * BLOCK)) shares = call.samples / (8 * BLOCK);
    shares = shares < 1 ? 1 : shares > 64 ? 64 : shares;
    Work work = {call, shares, 0, nullptr};
    plan<K>(call, 0, {nullptr, 0}, false, &work.size);
    if (shares > 1) {
        work.memory = (char *)aligned_alloc(64, (size_t)(call.networks * shares * work.size));
        if (!work.memory) abort();
    }
    run_parts(run_share<K>, &work, call.networks * shares, call.threads);
    if (shares > 1 && call.root) run_parts(run_sum<K>, &work, call.networks, call.threads);
    free(work.memory);
}

} // namespace

void network(const NetworkCall &call) {
    if (call.degree == 1) run<1>(call);
    else if (call.degree == 2) run<2>(call);
    else run<3>(call);
}

} // namespace SUPERPOSE_ISA
