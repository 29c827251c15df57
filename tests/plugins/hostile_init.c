/* A plug-in whose fuload_init or fuload_fini does harm: -DINIT=... or -DFINI=... */
#include <fuload.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

FULOAD_TASK(answer)
{
    return fuload_reply(task, "42", 2);
}

#ifdef INIT
int fuload_init(void)
{
    INIT;
    return 0;
}
#endif

#ifdef FINI
void fuload_fini(void)
{
    FINI;
}
#endif
