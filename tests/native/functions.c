/* What the tests call, in a worker and in their own process. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#define SAME(name, type) type same_##name(type x) { return x; }
SAME(bool, bool) SAME(char, char) SAME(wchar, wchar_t)
SAME(int8, int8_t) SAME(uint8, uint8_t) SAME(int16, int16_t) SAME(uint16, uint16_t)
SAME(int32, int32_t) SAME(uint32, uint32_t) SAME(int64, int64_t) SAME(uint64, uint64_t)
SAME(float, float) SAME(double, double) SAME(longdouble, long double)
SAME(address, void *) SAME(text, const char *) SAME(wide, const wchar_t *)

int add_int(int a, int b) { return (int)((unsigned)a + (unsigned)b); }
int64_t scale(int8_t a, int64_t b) { return (int64_t)((uint64_t)a * (uint64_t)b); }
float halve(float x) { return x / 2; }
long double third(long double x) { return x / 3; }
bool is_even(unsigned x) { return x % 2 == 0; }
double nine(double a, double b, double c, double d, double e, double f, double g, double h, double i)
{
    return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h + 9 * i;
}
void nothing(double x) { (void)x; }

/* Dies of `x` if it is negative. */
double careful(double x)
{
    if (x < 0)
        abort();
    return 2 * x;
}

/* -- buffers -- */

void invert(uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)~data[i];
}

uint64_t digest(const uint8_t *data, size_t size)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ data[i]) * 1099511628211u;
    return hash;
}

void double_all(double *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        values[i] *= 2;
}

int swap(int *a, int *b)
{
    int t = *a;
    *a = *b, *b = t;
    return t;
}

void swap_all(uint8_t *a, uint8_t *b, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        uint8_t t = a[i];
        a[i] = b[i], b[i] = t;
    }
}

int put(int *to, int value)
{
    int old = to ? *to : -1;
    if (to)
        *to = value;
    return old;
}

size_t describe(char *to, size_t size) { return (size_t)(stpncpy(to, "forty-two", size) - to); }
void widen(wchar_t *to, size_t size) { wcsncpy(to, L"h\u00e9 \U0001f600", size); }
char *put_text(char *to, const char *text) { return strcpy(to, text); }
wchar_t *put_wide(wchar_t *to, const wchar_t *text) { return wcscpy(to, text); }
int *last_of(int *values, size_t count) { return values + count - 1; }
size_t length(const wchar_t *text) { return text ? wcslen(text) : (size_t)-1; }
size_t misaligned(const void *at) { return (uintptr_t)at % 16; }
int is_null(const void *at) { return at == NULL; }

/* Writes all over the buffer, then dies. */
void spoil_and_die(uint8_t *data, size_t size)
{
    memset(data, 0xee, size);
    abort();
}

/* Writes all over the buffer, then waits for the FIFO to open. */
int spoil_and_wait(uint8_t *data, size_t size, const char *path)
{
    memset(data, 0xee, size);
    return open(path, O_RDONLY);
}

/* -- results -- */

const wchar_t *wide_text(int which)
{
    return which == 0 ? NULL : which == 1 ? L"" : L"h\u00e9 \U0001f600";
}

static int table[4] = {1, -2, 3, -4};
int *numbers(int null) { return null ? NULL : table; }
double *grid(int null)
{
    static double values[6] = {0.5, 1.5, 2.5, 3.5, 4.5, 5.5};
    return null ? NULL : values;
}

int fail_with(int number)
{
    errno = number;
    return number ? -1 : 0;
}
int look_at_errno(void) { return errno; }

/* -- structures -- */

struct point { int x, y; };
struct mixed { char a; double b; float c; short d; };
struct small { float a, b, c; };
struct pair { double x; int64_t n; };
struct large { double values[6]; int32_t counts[3]; struct point at[2]; };
struct nested { struct point p; struct { float u; struct small s; } inner; uint8_t tail[3]; };
struct bytes3 { uint8_t b[3]; };
struct one { long double x; };
struct with_pointer { void *p; int n; };

struct point turn_point(struct point p) { return (struct point){-p.y, p.x}; }
struct mixed turn_mixed(struct mixed m) { return (struct mixed){m.a + 1, -m.b, m.c * 2, ~m.d}; }
struct small turn_small(struct small s) { return (struct small){s.c, s.a, s.b}; }
struct pair turn_pair(struct pair p) { return (struct pair){-p.x, ~p.n}; }
struct nested turn_nested(struct nested n)
{
    n.p = turn_point(n.p);
    n.inner.u *= 2;
    n.inner.s = turn_small(n.inner.s);
    n.tail[0] ^= 0xff, n.tail[2] ^= n.tail[1];
    return n;
}
struct large turn_large(struct large l)
{
    for (int i = 0; i < 6; i++)
        l.values[i] = -l.values[i];
    for (int i = 0; i < 3; i++)
        l.counts[i] = ~l.counts[i];
    l.at[0] = turn_point(l.at[0]), l.at[1] = turn_point(l.at[1]);
    return l;
}
struct bytes3 turn_bytes(struct bytes3 b) { return (struct bytes3){{b.b[2], b.b[0], b.b[1]}}; }
struct one turn_one(struct one o) { return (struct one){-o.x}; }
double value_of_one(struct one o) { return (double)o.x; }
struct with_pointer turn_pointer(struct with_pointer e) { return (struct with_pointer){e.p, e.n + 1}; }

double between(int8_t a, struct small s, double b, struct large l, float c, struct pair p, struct point q,
               long double d, struct bytes3 e, int16_t f)
{
    return a + 2 * s.a + 3 * s.b + 5 * s.c + 7 * b + 11 * l.values[5] + 13 * l.counts[2] + 17 * l.at[1].y + 19 * c +
           23 * p.x + 29 * (double)p.n + 31 * q.x + 37 * q.y + 41 * (double)d + 43 * e.b[0] + 47 * e.b[2] + 53 * f;
}

void move_point(struct point *p, int dx)
{
    if (p)
        p->x += dx;
}
struct point *static_point(int null)
{
    static struct point p = {3, 4};
    return null ? NULL : &p;
}
int sum_points(const struct point *p, size_t n)
{
    int sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += p[i].x * 3 + p[i].y;
    return sum;
}

int nap(int microseconds)
{
    return usleep((unsigned)microseconds) ? -1 : microseconds;
}

void add_all(double *out, const double *a, const double *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = a[i] + b[i];
}

/* Bytes from three places, summed into the first, forwards. */
void mix(uint8_t *a, uint8_t *b, const uint8_t *c, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        a[i] = (uint8_t)(a[i] + 3 * b[i] + c[i] + i);
        b[n - 1 - i] ^= a[i];
    }
}

int truth(int x) { return x; }

int sum_point(struct point p, int n) { return p.x * 100 + p.y * 10 + n; }
