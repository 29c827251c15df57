/* A worker program that holds a SQLite connection: sqlite_worker DATABASE
 *
 * Its task "query" runs the statement in the request and replies with the rows,
 * a line each, columns separated by tabs. The database is opened once. */
#include <fuload.h>

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static sqlite3 *database;

static int write_row(fuload_task *task, sqlite3_stmt *statement)
{
    int i, columns = sqlite3_column_count(statement);

    for (i = 0; i < columns; i++) {
        const void *text = sqlite3_column_text(statement, i);
        size_t size = (size_t)sqlite3_column_bytes(statement, i);

        if (fuload_write(task, "\t", i > 0) != 0 || fuload_write(task, text, size) != 0)
            return -1;
    }
    return fuload_write(task, "\n", 1);
}

static int query(fuload_task *task)
{
    sqlite3_stmt *statement;
    size_t size;
    const char *sql = fuload_request(task, &size);
    int status = sqlite3_prepare_v2(database, sql, (int)size, &statement, NULL);

    if (status != SQLITE_OK)
        return fuload_fail(task, status, sqlite3_errmsg(database));
    while ((status = sqlite3_step(statement)) == SQLITE_ROW)
        if (write_row(task, statement) != 0)
            break; /* too large: the caller is told so */
    sqlite3_finalize(statement);
    if (status != SQLITE_DONE && status != SQLITE_ROW)
        return fuload_fail(task, status, sqlite3_errmsg(database));
    return 0;
}

static const struct fuload_worker_task tasks[] = {{"query", query}, {NULL, NULL}};

int main(int argc, char **argv)
{
    int code;

    if (argc != 2) {
        fprintf(stderr, "usage: sqlite_worker DATABASE\n");
        return 2;
    }
    if (sqlite3_open_v2(argv[1], &database, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK) {
        fprintf(stderr, "cannot open %s: %s\n", argv[1], sqlite3_errmsg(database));
        return 1;
    }
    code = fuload_worker_main(argc, argv, tasks);
    sqlite3_close(database);
    return code;
}
