/* The words of a text, counted. Request: the text. Reply: one uint64_t. */
#include <fuload.h>

#include <ctype.h>

FULOAD_TASK(word_count)
{
    size_t size, i;
    const unsigned char *text = (const unsigned char *)fuload_request(task, &size);
    uint64_t words = 0;
    int inside = 0; /* a word */

    for (i = 0; i < size; i++) {
        int letter = !isspace(text[i]);
        words += letter && !inside;
        inside = letter;
    }
    return fuload_reply(task, &words, sizeof words);
}
