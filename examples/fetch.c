/* fetch.c: fetches URLs side by side with libcurl, on the loop: fetch [-j COUNT] [-o DIRECTORY] URL...
 *
 * Prints a line for each: what came of it, bytes, milliseconds, URL. With -o each goes into a file of its own, named by
 * its number. Ends with 0 if all were fetched. Needs libcurl; the library itself does not. */
#include <ringloop.h>
#include <ringloop/adapter/curl.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct fetch {
    const char *url;
    CURL       *easy;
    FILE       *file; /* NULL: the bytes are only counted */
    uint64_t    bytes, begin_ns;
    char        error[CURL_ERROR_SIZE];
};

static struct {
    struct loop     *loop;
    struct loop_curl curl;
    CURLM           *multi;
    struct fetch    *fetches;
    const char      *directory;
    int              count, next, failed, at_a_time;
} all;

static size_t on_data(char *data, size_t size, size_t count, void *arg)
{
    struct fetch *fetch = arg;

    fetch->bytes += size * count;
    if (fetch->file != NULL && fwrite(data, size, count, fetch->file) != count)
        return 0; /* which makes libcurl end the transfer */
    return size * count;
}

static int open_file(struct fetch *fetch)
{
    char path[4096];

    if (all.directory == NULL)
        return 0;
    snprintf(path, sizeof(path), "%s/%d", all.directory, (int)(fetch - all.fetches));
    fetch->file = fopen(path, "wbe");
    if (fetch->file == NULL)
        perror(path);
    return fetch->file == NULL ? -1 : 0;
}

static int start(struct fetch *fetch)
{
    if (open_file(fetch) < 0)
        return -1;
    fetch->easy = curl_easy_init();
    if (fetch->easy == NULL)
        return -1;
    fetch->begin_ns = loop_now(all.loop);
    curl_easy_setopt(fetch->easy, CURLOPT_URL, fetch->url);
    curl_easy_setopt(fetch->easy, CURLOPT_PRIVATE, fetch);
    curl_easy_setopt(fetch->easy, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(fetch->easy, CURLOPT_WRITEDATA, fetch);
    curl_easy_setopt(fetch->easy, CURLOPT_ERRORBUFFER, fetch->error);
    curl_easy_setopt(fetch->easy, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(fetch->easy, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(fetch->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(fetch->easy, CURLOPT_CONNECTTIMEOUT, 10L);
    return curl_multi_add_handle(all.multi, fetch->easy) == CURLM_OK ? 0 : -1;
}

/* Whatever is open of it. False: what was to be written is not. */
static bool finish(struct fetch *fetch)
{
    bool written = fetch->file == NULL || fclose(fetch->file) == 0;

    if (fetch->easy != NULL) {
        curl_multi_remove_handle(all.multi, fetch->easy);
        curl_easy_cleanup(fetch->easy);
    }
    fetch->file = NULL;
    fetch->easy = NULL;
    return written;
}

static void start_next(void)
{
    while (all.next < all.count) {
        struct fetch *fetch = &all.fetches[all.next++];

        if (start(fetch) == 0)
            return;
        finish(fetch);
        all.failed++;
        printf("not started 0 0 %s\n", fetch->url);
    }
}

static void on_done(struct loop_curl *curl, CURL *easy, CURLcode result)
{
    struct fetch *fetch = NULL;

    (void)curl;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&fetch);
    if (!finish(fetch) && result == CURLE_OK)
        result = CURLE_WRITE_ERROR;
    printf("%s %llu %llu %s\n", result == CURLE_OK ? "ok" : "failed", (unsigned long long)fetch->bytes,
           (unsigned long long)((loop_now(all.loop) - fetch->begin_ns) / LOOP_MILLISECOND), fetch->url);
    if (result != CURLE_OK) {
        fprintf(stderr, "%s: %s\n", fetch->url, fetch->error[0] != '\0' ? fetch->error : curl_easy_strerror(result));
        all.failed++;
    }
    start_next();
}

static void on_signal(int number)
{
    (void)number;
    loop_stop(all.loop);
}

static int usage(void)
{
    fprintf(stderr, "usage: fetch [-j COUNT] [-o DIRECTORY] URL...\n");
    return 2;
}

static int read_arguments(int argc, char **argv)
{
    int option;

    all.at_a_time = 8;
    while ((option = getopt(argc, argv, "j:o:")) != -1) {
        if (option == 'j')
            all.at_a_time = atoi(optarg);
        else if (option == 'o')
            all.directory = optarg;
        else
            return -1;
    }
    all.count = argc - optind;
    all.fetches = calloc((size_t)all.count + 1, sizeof(all.fetches[0]));
    for (int i = 0; all.fetches != NULL && i < all.count; i++)
        all.fetches[i].url = argv[optind + i];
    return all.count > 0 && all.at_a_time > 0 && all.fetches != NULL ? 0 : -1;
}

int main(int argc, char **argv)
{
    int r, missing = 0;

    if (read_arguments(argc, argv) < 0)
        return usage();
    r = loop_create(&all.loop, NULL);
    if (r < 0) {
        fprintf(stderr, "fetch: no loop: %s\n", strerror(-r));
        return 1;
    }
    if (curl_global_init(CURL_GLOBAL_ALL) != CURLE_OK || (all.multi = curl_multi_init()) == NULL ||
        loop_curl_open(all.loop, &all.curl, all.multi, on_done) < 0) {
        fprintf(stderr, "fetch: libcurl does not start\n");
        return 1;
    }
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < all.at_a_time; i++)
        start_next();
    loop_run(all.loop, LOOP_RUN_DEFAULT);

    loop_curl_close(&all.curl); /* before anything else is done with the multi, or the loop ends */
    for (int i = 0; i < all.count; i++) {
        missing += all.fetches[i].easy != NULL || i >= all.next;
        finish(&all.fetches[i]);
    }
    curl_multi_cleanup(all.multi);
    curl_global_cleanup();
    loop_destroy(all.loop);
    free(all.fetches);
    return all.failed + missing == 0 ? 0 : 1;
}
