/* Pi by random points in a square. Each worker has a generator of its own, in a
 * global: fuload_init seeds it once, and the tasks go on where the last one
 * stopped. Request: how many points (uint64_t). Reply: struct sample. */
#include <fuload.h>

#include <string.h>
#include <sys/random.h>

static uint64_t state; /* of the generator, between two tasks too */
static uint64_t points_so_far;

struct sample {
    uint64_t inside;        /* of the points of this task, in the circle */
    uint64_t points_so_far; /* of this worker */
    uint64_t state;         /* says which worker it was */
};

int fuload_init(void)
{
    return getrandom(&state, sizeof state, 0) == sizeof state ? 0 : 1;
}

/* splitmix64 */
static double uniform(void)
{
    uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

FULOAD_TASK(throw_points)
{
    struct sample sample = {0, 0, 0};
    uint64_t points, i;
    size_t size;
    const void *request = fuload_request(task, &size);

    if (size != sizeof points)
        return fuload_fail(task, 1, "the request must be the number of points, 8 bytes");
    memcpy(&points, request, sizeof points);
    for (i = 0; i < points; i++) {
        double x = uniform(), y = uniform();
        sample.inside += x * x + y * y < 1.0;
    }
    sample.points_so_far = points_so_far += points;
    sample.state = state;
    return fuload_reply(task, &sample, sizeof sample);
}
