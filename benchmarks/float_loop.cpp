// The yardstick many times over, so that what a call from Python costs does not count.
extern "C" void float_gru_step(void *gru, const float *x, float *h);

extern "C" void float_gru_run(void *gru, const float *x, float *h, int steps)
{
    for (int t = 0; t < steps; ++t) {
        float_gru_step(gru, x, h);
    }
}
