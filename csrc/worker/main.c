#include "fuload.h"

int main(int argc, char **argv)
{
    fuload_worker_allow_python();
    return fuload_worker_main(argc, argv, NULL);
}
