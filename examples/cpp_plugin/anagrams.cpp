// Anagrams, with the standard library of C++. Request: words, one a line.
// Reply: groups of words with the same letters, one group a line.
#include <fuload.h>

#include <algorithm>
#include <exception>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

static std::string group(const std::string &text)
{
    std::map<std::string, std::vector<std::string>> groups;
    std::istringstream words(text);
    std::string reply;

    for (std::string word; words >> word;) {
        std::string letters = word;
        std::sort(letters.begin(), letters.end());
        groups[letters].push_back(word);
    }
    for (const auto &found : groups) {
        if (found.second.size() < 2)
            continue;
        for (const auto &word : found.second)
            reply += word + ' ';
        reply.back() = '\n';
    }
    return reply;
}

// An exception must not leave the task: C is on the other side.
FULOAD_TASK(anagrams)
try {
    std::size_t size;
    const char *text = static_cast<const char *>(fuload_request(task, &size));
    const std::string reply = group(std::string(text, size));

    if (reply.empty())
        throw std::runtime_error("there are no anagrams in it");
    return fuload_reply(task, reply.data(), reply.size());
} catch (const std::exception &error) {
    return fuload_fail(task, 1, error.what());
}
