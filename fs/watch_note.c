/* fs/watch_note.c: what a watch is to be told: gathered, equal ones once, the halves of a move put together. */
#include "fs/watch_private.h"

#include <errno.h>
#include <string.h>

static const uint64_t pair_ns = 10 * LOOP_MILLISECOND; /* how long the other half of a move is waited for */

enum {
    KINDS_STATE = LOOP_WATCH_MODIFIED | LOOP_WATCH_ATTRIBUTES | LOOP_WATCH_WRITTEN,
    KINDS_MOVE = LOOP_WATCH_RENAMED | LOOP_WATCH_MOVED_IN | LOOP_WATCH_MOVED_OUT,
    KINDS_ALWAYS =
        LOOP_WATCH_SELF_DELETED | LOOP_WATCH_UNMOUNTED | LOOP_WATCH_OVERFLOW | LOOP_WATCH_READY | LOOP_WATCH_FAILED,
};

static bool wanted(const struct watch *watch, uint32_t kinds)
{
    return ((watch->options.events | KINDS_ALWAYS) & kinds) != 0;
}

/* ---- the list, and the buckets to find what was noted of a path */

static uint32_t hash_of(const struct watch *watch, const char *path)
{
    uint32_t hash = 2166136261u ^ (uint32_t)((uintptr_t)watch >> 6);

    for (; *path != '\0'; path++)
        hash = (hash ^ (uint8_t)*path) * 16777619u;
    return hash ^ hash >> 16;
}

static struct watch_note **bucket(const struct watch_note *note)
{
    return &note->watch->notifier->buckets[note->hash % NOTE_BUCKETS];
}

static struct watch_note *note_make(struct watch *watch, uint32_t kind, const char *path, const char *from)
{
    size_t             path_bytes = strlen(path) + 1, from_bytes = from == NULL ? 0 : strlen(from) + 1;
    struct watch_note *note = memory_resize(watch->loop, NULL, sizeof(*note) + path_bytes + from_bytes);

    if (note == NULL)
        return NULL;
    *note = (struct watch_note){.watch = watch, .kind = kind, .hash = hash_of(watch, path)};
    note->path = memcpy(note + 1, path, path_bytes);
    if (from != NULL)
        note->from = memcpy((char *)(note + 1) + path_bytes, from, from_bytes);
    return note;
}

/* A note that is nowhere yet; NULL, and the watch overflows, if there can't be one. */
static struct watch_note *note_new(struct watch *watch, uint32_t kind, const char *path, const char *from)
{
    struct watch_note *note = NULL;

    if (watch->closing || watch->overflown)
        return NULL;
    if (watch->notes_count < watch->options.queue_max)
        note = note_make(watch, kind, path, from);
    if (note == NULL) {
        watch->loop->stats.watch_overflows++;
        watch_lost(watch, false);
    }
    return note;
}

static void insert(struct watch_note *note, struct watch_note *before)
{
    note_list_insert(before, note);
    note->order = ++note->watch->notes_made;
    note->same = *bucket(note);
    *bucket(note) = note;
    if (note->watch->notes_count++ == 0)
        note->watch->first_ns = note->watch->loop->now_ns;
    watch_notes_schedule(note->watch);
}

static void take_out(struct watch_note *note)
{
    struct watch_note **at = bucket(note);

    while (*at != note)
        at = &(*at)->same;
    *at = note->same;
    note_list_remove(note);
    note->watch->notes_count--;
}

static bool of_path(const struct watch_note *note, const struct watch *watch, uint32_t hash, const char *path)
{
    return note->watch == watch && note->hash == hash && strcmp(note->path, path) == 0;
}

/* Whether the program will be told anyway: by a note that stands after the last change of what the path leads to. With
 * a directory all paths below it change. */
static bool told_anyway(struct watch *watch, uint32_t kind, const char *path)
{
    uint32_t           hash = hash_of(watch, path);
    struct watch_note *note = watch->notifier->buckets[hash % NOTE_BUCKETS];

    for (; note != NULL && note->order > watch->moved_at; note = note->same) {
        if (!of_path(note, watch, hash, path))
            continue;
        if (note->kind == LOOP_WATCH_DISAPPEARED && kind == LOOP_WATCH_APPEARED && wanted(watch, LOOP_WATCH_REPLACED)) {
            note->kind = LOOP_WATCH_REPLACED;
            return true;
        }
        if (note->kind == kind && (kind & KINDS_MOVE) == 0)
            return true;
        if ((note->kind & KINDS_STATE) == 0)
            return false;
    }
    return false;
}

/* ---- noting */

static struct watch_note *add(struct watch *watch, uint32_t kind, const char *path, bool directory)
{
    struct watch_note *note = note_new(watch, kind, path, NULL);

    if (note == NULL)
        return NULL;
    note->directory = directory;
    insert(note, &watch->notes);
    return note;
}

void watch_note(struct watch *watch, uint32_t kind, const char *path, bool directory)
{
    if (wanted(watch, kind) && !told_anyway(watch, kind, path))
        (void)add(watch, kind, path, directory);
}

bool watch_note_ready(struct watch *watch)
{
    struct watch_note *note = note_make(watch, LOOP_WATCH_READY, "", NULL);

    if (note != NULL)
        insert(note, &watch->notes);
    return note != NULL;
}

void watch_note_failed(struct watch *watch, const char *path, int error)
{
    struct watch_note *note = add(watch, LOOP_WATCH_FAILED, path, false);

    if (note != NULL)
        note->error = error;
}

static void note_move(struct watch *watch, bool directory)
{
    watch->moved_at = watch->notes_made;
    if (directory)
        watch->directory_moved_at = watch->notes_made;
}

/* Also noted if only the other half is wanted. */
void watch_note_from(struct watch *watch, const char *path, bool directory, uint32_t cookie)
{
    struct watch_note *note = add(watch, LOOP_WATCH_MOVED_OUT, path, directory);

    note_move(watch, directory);
    if (note == NULL && watch->tree != NULL)
        watch_tree_lost(watch); /* nobody will tell it that a directory has left */
    if (note == NULL)
        return;
    note->cookie = cookie;
    note->due_ns = ns_add(watch->loop->now_ns, pair_ns);
    watch->unpaired++;
}

/* The kernel tells both halves while it has both directories locked: between them is nothing about these two entries,
 * so that the place of the first will do for both. But not if a directory was moved in between, which changes paths, or
 * if one half was held: then it is one move out and one in. */
static struct watch_note *other_half(const struct watch *watch, uint32_t cookie)
{
    struct watch_note *note = watch->notes.prev;

    if (watch->unpaired == 0 || cookie == 0)
        return NULL;
    while (note != &watch->notes && note->cookie != cookie)
        note = note->prev;
    return note == &watch->notes || note->order < watch->directory_moved_at || note->order <= watch->replayed_at ? NULL
                                                                                                                 : note;
}

bool watch_note_to(struct watch *watch, const char *path, bool directory, uint32_t cookie)
{
    struct watch_note *from = other_half(watch, cookie), *note;

    note_move(watch, directory);
    if (from == NULL) {
        watch_note(watch, LOOP_WATCH_MOVED_IN, path, directory);
        return false;
    }
    note = wanted(watch, LOOP_WATCH_RENAMED) ? note_new(watch, LOOP_WATCH_RENAMED, path, from->path) : NULL;
    if (note != NULL) {
        note->directory = directory;
        insert(note, from);
    }
    take_out(from);
    watch->unpaired--;
    memory_free(watch->loop, from);
    return true;
}

/* ---- telling */

static void timer_fired(struct loop_timer *timer)
{
    watch_notes_tell(container_of(timer, struct watch, timer));
}

void watch_notes_schedule(struct watch *watch)
{
    uint64_t now_ns = watch->loop->now_ns, quiet_ns, latest_ns;

    if (watch->options.coalesce_ns == 0) {
        loop_task_add(watch->loop, &watch->task);
        return;
    }
    quiet_ns = ns_add(now_ns, watch->options.coalesce_ns);
    latest_ns = ns_add(watch->notes_count == 0 ? now_ns : watch->first_ns, watch->options.coalesce_max_ns);
    (void)loop_timer_start_at(watch->loop, &watch->timer, quiet_ns < latest_ns ? quiet_ns : latest_ns, 0, timer_fired);
}

static void tell(struct watch *watch, const struct watch_note *note)
{
    const struct loop_watch_event event = {
        .kind = note->kind,
        .error = note->error,
        .directory = note->directory,
        .path = note->path,
        .from = note->from,
    };

    watch->cb(watch->user, &event);
}

/* Whether the other half of this move may come still. */
static bool must_wait(struct watch *watch, const struct watch_note *note)
{
    if (note->cookie == 0 || note->due_ns <= watch->loop->now_ns)
        return false;
    (void)loop_timer_start_at(watch->loop, &watch->timer, note->due_ns, 0, timer_fired);
    return true;
}

/* Tells the first; false if that has to wait. */
static bool tell_first(struct watch *watch)
{
    struct watch_note *note = watch->notes.next;

    if (must_wait(watch, note))
        return false;
    take_out(note);
    if (note->cookie != 0) {
        watch->unpaired--;
        if (watch->tree != NULL)
            watch_tree_moved_out(watch, note->cookie);
    }
    if (wanted(watch, note->kind))
        tell(watch, note);
    memory_free(watch->loop, note);
    return true;
}

/* Those that come meanwhile wait for the next time. A callback that starts a watch makes events be read: the halves of
 * a move may become one note, or none. */
void watch_notes_tell(struct watch *watch)
{
    static const struct watch_note overflow_note = {.kind = LOOP_WATCH_OVERFLOW, .path = ""};

    for (uint32_t count = watch->notes_count; count > 0 && watch->notes_count > 0; count--) {
        if (!tell_first(watch) || watch->closing)
            return;
    }
    if (watch->notes_count > 0) {
        watch->first_ns = watch->loop->now_ns;
        watch_notes_schedule(watch);
    } else if (watch->overflown && (watch->tree == NULL || !watch_tree_looks_again(watch))) {
        watch->overflown = false;
        loop_task_add(watch->loop, &watch->task); /* a path is looked at now */
        tell(watch, &overflow_note);
    }
}

void watch_notes_drop(struct watch *watch)
{
    while (watch->notes_count > 0) {
        struct watch_note *note = watch->notes.next;

        take_out(note);
        memory_free(watch->loop, note);
    }
}
