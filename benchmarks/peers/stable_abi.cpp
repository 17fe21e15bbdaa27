// The operation of the B-spline layer as PyTorch's stable ABI would have it, without its arithmetic: what a call costs.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <optional>
#include <tuple>

using torch::stable::Tensor;

// Where a kernel would begin: what it gets is written down, so that nothing of the way there is left out.
const void *volatile sink;
static void run(const void *a, const void *b, const void *c, void *result) { sink = a, sink = b, sink = c, sink = result; }

static Tensor dense(const Tensor &t) { return t.is_contiguous() ? t : torch::stable::contiguous(t); }

Tensor linear(Tensor x, Tensor coef, Tensor knots, std::optional<Tensor> weight, int64_t degree, int64_t extrapolation) {
    (void)weight, (void)degree, (void)extrapolation;
    x = dense(x), coef = dense(coef), knots = dense(knots);
    Tensor y = torch::stable::new_empty(x, {x.numel() / x.size(-1), coef.size(2)});
    run(x.data_ptr(), coef.data_ptr(), knots.data_ptr(), y.data_ptr());
    return y;
}

std::tuple<Tensor, Tensor> linear_backward(Tensor grad, Tensor x, Tensor coef, Tensor knots, std::optional<Tensor> weight,
                                           int64_t degree, int64_t extrapolation) {
    (void)weight, (void)degree, (void)extrapolation;
    grad = dense(grad), x = dense(x), coef = dense(coef), knots = dense(knots);
    Tensor grad_x = torch::stable::empty_like(x), grad_coef = torch::stable::empty_like(coef);
    run(grad.data_ptr(), coef.data_ptr(), grad_x.data_ptr(), grad_coef.data_ptr());
    return {grad_x, grad_coef};
}

STABLE_TORCH_LIBRARY(superpose_stable, m) {
    m.def("linear(Tensor x, Tensor coef, Tensor knots, Tensor? weight, int degree, int extrapolation) -> Tensor");
    m.def("linear_backward(Tensor grad, Tensor x, Tensor coef, Tensor knots, Tensor? weight, int degree, "
          "int extrapolation) -> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(superpose_stable, CPU, m) {
    m.impl("linear", TORCH_BOX(&linear));
    m.impl("linear_backward", TORCH_BOX(&linear_backward));
}
