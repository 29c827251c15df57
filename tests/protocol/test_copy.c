/* fl_copy is memmove, whatever way it takes: every place in a page that source
 * and destination can have to each other, and overlaps. */
#include "check.h"
#include "protocol/copy.h"

#define ROOM (8u * FL_COPY_PAGE)

static unsigned char source[ROOM], copied[ROOM], expected[ROOM];

static void fill(unsigned char *at, uint64_t seed)
{
    size_t i;

    for (i = 0; i < ROOM; i++)
        at[i] = (unsigned char)draw(&seed);
}

/* From one buffer to another, the rest of it untouched. */
static void check_apart(size_t to, size_t from, size_t size)
{
    fill(copied, 5);
    memcpy(expected, copied, ROOM);
    memmove(expected + to, source + from, size);
    fl_copy(copied + to, source + from, size);
    CHECK(!memcmp(copied, expected, ROOM));
}

static void check_inside(size_t to, size_t from, size_t size)
{
    memcpy(copied, source, ROOM);
    memcpy(expected, source, ROOM);
    memmove(expected + to, expected + from, size);
    fl_copy(copied + to, copied + from, size);
    CHECK(!memcmp(copied, expected, ROOM));
}

static const size_t sizes[] = {
    0, 1, 63, 64, 65, FL_COPY_LONG - 1, FL_COPY_LONG, FL_COPY_LONG + 1, FL_COPY_LONG + 63,
    FL_COPY_PAGE, 2 * FL_COPY_PAGE + 17, 3 * FL_COPY_PAGE - 1,
};

static void all_distances(void)
{
    size_t i, ahead;

    for (i = 0; i < LENGTH(sizes) && !failed(); i++)
        for (ahead = 0; ahead < 2 * FL_COPY_BLOCK + 2; ahead++) {
            check_apart(ahead, 0, sizes[i]);
            check_apart(0, ahead, sizes[i]);
            check_apart(3, ahead, sizes[i]);
            check_apart(FL_COPY_PAGE + ahead, 5, sizes[i]);
        }
}

static void overlaps(void)
{
    size_t i, j;
    static const size_t ahead[] = {1, 8, 63, 64, 65, 1000, FL_COPY_LONG, FL_COPY_PAGE, FL_COPY_PAGE + 16};

    for (i = 0; i < LENGTH(sizes) && !failed(); i++)
        for (j = 0; j < LENGTH(ahead); j++) {
            check_inside(100 + ahead[j], 100, sizes[i]);
            check_inside(100, 100 + ahead[j], sizes[i]);
            check_inside(100, 100, sizes[i]);
        }
}

int main(void)
{
    fill(source, 3);
    RUN(all_distances);
    RUN(overlaps);
    return verdict();
}
