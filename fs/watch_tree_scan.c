/* fs/watch_tree_scan.c: listing directories on the work pool, some at a time, and what comes of it. */
#include "fs/entries.h"
#include "fs/watch_tree_private.h"
#include "loop/seam_sys.h"

#include <errno.h>
#include <fcntl.h>
#include <ringloop/directory.h>
#include <stdlib.h>
#include <string.h>

/* ---- what waits to be listed */

/* One that is being listed just now is listed again afterwards. */
void tree_todo_add(struct tree_node *node, enum scan_purpose purpose)
{
    struct tree_node *todo = &node->tree->todo;

    loop_task_add(node->tree->watch->loop, &node->tree->task);
    if (node->item != NULL)
        node->again = true;
    if (node->item != NULL || node->todo_next != NULL)
        return; /* what it waits for finds all that this would */
    node->purpose = (uint8_t)purpose;
    node->todo_next = todo;
    node->todo_prev = todo->todo_prev;
    todo->todo_prev->todo_next = node;
    todo->todo_prev = node;
}

void tree_todo_remove(struct tree_node *node)
{
    if (node->todo_next == NULL)
        return;
    node->todo_next->todo_prev = node->todo_prev;
    node->todo_prev->todo_next = node->todo_next;
    node->todo_next = NULL;
    node->todo_prev = NULL;
}

/* ---- on a thread: lists */

enum { LIST_BYTES = 32 * 1024 };

static int note_name(struct scan_item *item, const char *name, bool directory)
{
    size_t bytes = strlen(name) + 2, room = item->names_room;
    char  *names;

    if (!directory && !item->all)
        return 0;
    if (item->names_size + bytes > room) {
        room = room == 0 ? 1024 : 2 * room;
        names = memory_resize(item->loop, item->names, room);
        if (names == NULL)
            return -ENOMEM;
        item->names = names;
        item->names_room = room;
    }
    item->names[item->names_size] = directory ? 1 : 0;
    memcpy(item->names + item->names_size + 1, name, bytes - 1);
    item->names_size += bytes;
    item->entries_count++;
    return 0;
}

static int note_names(struct scan_item *item, int fd, const char *buffer, size_t size)
{
    int r = 0;

    for (size_t at = 0; at < size && r == 0;) {
        const struct raw_entry *entry = (const struct raw_entry *)(const void *)(buffer + at);
        uint8_t                 type = entry->type;

        at += entry->size;
        if (raw_entry_is_dots(entry))
            continue;
        if (type == LOOP_ENTRY_UNKNOWN)
            type = entry_type(fd, entry->name);
        r = note_name(item, entry->name, type == LOOP_ENTRY_DIRECTORY);
    }
    return r;
}

static int list(struct scan_item *item)
{
    _Alignas(8) char buffer[LIST_BYTES];
    ssize_t          size;
    int              fd, r;

    fd = sys_open_at(AT_FDCWD, item->path, O_RDONLY | O_DIRECTORY | (item->root ? 0 : O_NOFOLLOW), 0);
    if (fd < 0)
        return fd;
    do {
        size = sys_entries_read(fd, buffer, sizeof(buffer));
        r = size < 0 ? (int)size : note_names(item, fd, buffer, (size_t)size);
    } while (size > 0 && r == 0);
    (void)sys_close(fd);
    return size == -ENOENT ? 0 : r; /* it was removed, and had nothing more in it */
}

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const struct scan_entry *)a)->name, ((const struct scan_entry *)b)->name);
}

static int sort(struct scan_item *item)
{
    size_t at = 0;

    item->entries = memory_resize(item->loop, NULL, (item->entries_count + 1) * sizeof(item->entries[0]));
    if (item->entries == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < item->entries_count; i++) {
        item->entries[i] = (struct scan_entry){.name = item->names + at + 1, .directory = item->names[at] != 0};
        at += strlen(item->names + at + 1) + 2;
    }
    qsort(item->entries, item->entries_count, sizeof(item->entries[0]), compare_entries);
    return 0;
}

static int32_t list_all(void *arg)
{
    struct tree_scan *scan = arg;

    for (uint32_t i = 0; i < scan->count; i++) {
        struct scan_item *item = &scan->items[i];

        item->error = list(item);
        if (item->error == 0)
            item->error = sort(item);
    }
    return 0;
}

static void item_free(struct scan_item *item)
{
    memory_free(item->loop, item->path);
    memory_free(item->loop, item->names);
    memory_free(item->loop, item->entries);
}

void tree_scan_free(struct watch_tree *tree)
{
    if (tree->scan == NULL)
        return;
    for (uint32_t i = 0; i < tree->scan->count; i++)
        item_free(&tree->scan->items[i]);
    memory_free(tree->watch->loop, tree->scan);
    tree->scan = NULL;
}

void tree_scan_astray(const struct tree_node *node)
{
    struct tree_scan *scan = node->tree->scan;

    for (uint32_t i = 0; scan != NULL && i < scan->count; i++) {
        const struct tree_node *at = scan->items[i].node;

        while (at != NULL && at != node)
            at = at->parent;
        scan->items[i].astray = scan->items[i].astray || at == node;
    }
}

/* After a fork: a thread of the parent's may have been at work on it. So its memory is left, and listed anew. */
static void scan_forget(struct tree_scan *scan)
{
    for (uint32_t i = 0; i < scan->count; i++) {
        struct scan_item *item = &scan->items[i];

        *item = (struct scan_item){.node = item->node,
                                   .loop = item->loop,
                                   .all = item->all,
                                   .root = item->root,
                                   .astray = item->astray,
                                   .path = item->path};
    }
}

/* ---- what was found */

static struct scan_entry *entry_of(const struct scan_item *item, const char *name)
{
    struct scan_entry key = {.name = name};

    return bsearch(&key, item->entries, item->entries_count, sizeof(key), compare_entries);
}

static void find_directories(struct tree_node *node, const struct scan_item *item)
{
    for (size_t i = 0; i < item->entries_count; i++) {
        const struct scan_entry *entry = &item->entries[i];

        if (entry->directory && tree_child(node, entry->name) == NULL)
            tree_child_add(node, entry->name, (enum scan_purpose)node->purpose);
    }
}

/* Whether it is the news of an entry that has been told as listed. */
static bool is_old_news(const struct scan_item *item, const struct held_event *held)
{
    struct scan_entry *entry = entry_of(item, held->name);

    if (entry == NULL)
        return false;
    if ((held->mask & (IN_CREATE | IN_MOVED_TO)) != 0 && entry->told)
        return true;
    if ((held->mask & (IN_DELETE | IN_MOVED_FROM)) != 0)
        entry->told = false;
    return false;
}

static void tell_held(struct tree_node *node, const struct scan_item *item)
{
    struct watch      *watch = node->tree->watch;
    struct held_event *held;

    node->holding = false;
    watch->replayed_at = watch->notes_made;
    while ((held = node->held) != NULL) {
        node->held = held->next;
        if (item->error < 0 || !is_old_news(item, held))
            tree_node_event(node, held->mask, held->cookie, held->name);
        memory_free(watch->loop, held);
    }
    node->held_end = &node->held;
    watch->replayed_at = 0;
}

static void tell_all(struct tree_node *node, struct scan_item *item)
{
    char path[PATH_MAX];

    for (size_t i = 0; i < item->entries_count; i++) {
        struct scan_entry *entry = &item->entries[i];

        entry->told = true;
        if (tree_path(node, entry->name, path, sizeof(path)) == 0)
            watch_note(node->tree->watch, LOOP_WATCH_CREATED, path, entry->directory);
    }
    find_directories(node, item);
}

static void check(struct tree_node *node, const struct scan_item *item)
{
    struct tree_node *child, *next;

    for (child = node->children; child != NULL; child = next) {
        const struct scan_entry *entry = entry_of(item, child->name);

        next = child->next;
        tree_moving_end(child);
        if (entry == NULL || !entry->directory)
            tree_node_remove(child);
        else
            tree_todo_add(child, SCAN_CHECK);
    }
    find_directories(node, item);
}

static void apply(struct tree_node *node, struct scan_item *item)
{
    enum scan_purpose purpose = (enum scan_purpose)node->purpose;

    node->item = NULL;
    if (tree_is_moving(node)) {
        tree_held_free(node);
        purpose = SCAN_NONE;
    } else if (item->astray) { /* goes on being held */
        tree_todo_add(node, purpose);
        return;
    }
    if (item->error == 0) {
        switch (purpose) {
        case SCAN_NONE: break;
        case SCAN_FIRST: find_directories(node, item); break;
        case SCAN_TELL: tell_all(node, item); break;
        case SCAN_CHECK: check(node, item); break;
        }
    } else if (item->error != -ENOENT && item->error != -ENOTDIR) {
        tree_fail(node, item->error);
    }
    if (purpose == SCAN_TELL)
        tell_held(node, item);
    node->purpose = SCAN_NONE;
    if (node->again)
        tree_todo_add(node, SCAN_CHECK);
    node->again = false;
}

static void listed(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct watch_tree *tree = ((struct tree_scan *)arg)->tree;

    tree->scan_id = 0;
    if (tree->watch->closing) {
        loop_task_add(loop, &tree->watch->task);
        return;
    }
    loop_task_add(loop, &tree->task);
    if (result->res < 0) {
        scan_forget(tree->scan);
        return;
    }
    notifier_read(tree->watch->notifier);
    for (uint32_t i = 0; i < tree->scan->count; i++) {
        if (tree->scan->items[i].node != NULL)
            apply(tree->scan->items[i].node, &tree->scan->items[i]);
    }
    tree_scan_free(tree);
}

/* ---- going on */

/* A directory that stands in itself, by a bind mount, would have no end. */
static bool is_in_itself(const struct tree_node *node)
{
    for (const struct tree_node *above = node->parent; above != NULL; above = above->parent) {
        if (above->hook.watched == node->hook.watched)
            return true;
    }
    return false;
}

/* When it is checked or listed again: whether there is still the same directory, else its hook goes over to the one
 * that is. What was held is the other's. */
static int hook_set(struct tree_node *node, const char *path)
{
    struct notifier  *notifier = node->tree->watch->notifier;
    struct watch_hook probe = {.watch = node->hook.watch, .told = node->hook.told};
    bool              same;
    int               r;

    if (node->hook.watched == NULL)
        return notifier_add(notifier, &node->hook, path, tree_mask(node));
    r = notifier_add(notifier, &probe, path, tree_mask(node));
    same = r == 0 && probe.watched == node->hook.watched;
    if (!same) {
        notifier_remove(notifier, &node->hook);
        tree_held_free(node);
    }
    if (r == 0 && !same)
        r = notifier_add(notifier, &node->hook, path, tree_mask(node));
    notifier_remove(notifier, &probe);
    return r;
}

/* Names the directory for the system. */
static int item_path(struct scan_item *item, const struct tree_node *node)
{
    char path[PATH_MAX];
    int  r = tree_path_absolute(node, "", path, sizeof(path));

    if (r < 0)
        return r;
    item->path = memory_resize(item->loop, NULL, strlen(path) + 1);
    if (item->path == NULL)
        return -ENOMEM;
    memcpy(item->path, path, strlen(path) + 1);
    return 0;
}

/* It is not watched. If it has gone meanwhile, others tell that. */
static void node_failed(struct tree_node *node, int error)
{
    if (error != -ENOENT && error != -ENOTDIR)
        tree_fail(node, error);
    if (node->parent == NULL && (error == -ENOENT || error == -ENOTDIR))
        watch_end(node->tree->watch, LOOP_WATCH_SELF_DELETED);
    tree_node_remove(node);
}

/* Watches a directory; then it belongs to the scan. */
static void item_add(struct tree_scan *scan, struct tree_node *node)
{
    struct scan_item *item = &scan->items[scan->count];
    int               r;

    tree_todo_remove(node);
    *item = (struct scan_item){.loop = node->tree->watch->loop};
    r = item_path(item, node);
    if (r == 0)
        r = hook_set(node, item->path);
    if (r < 0 || is_in_itself(node)) {
        item_free(item);
        if (r < 0)
            node_failed(node, r);
        else
            tree_node_remove(node);
        return;
    }
    item->node = node;
    node->item = item;
    node->holding = node->purpose == SCAN_TELL;
    item->all = node->holding;
    item->root = node->parent == NULL;
    scan->count++;
}

static void finished(struct watch_tree *tree)
{
    struct watch *watch = tree->watch;

    if (tree->check_again) {
        tree->check_again = false;
        tree_todo_add(&tree->root, SCAN_CHECK);
        return;
    }
    if (!tree->ready)
        tree->ready = watch_note_ready(watch);
    if (!tree->ready)
        loop_task_retry(watch->loop, &tree->task);
    if (tree->checking) {
        tree->checking = false;
        watch_notes_schedule(watch);
    }
}

static void fill(struct watch_tree *tree)
{
    while (tree->todo.todo_next != &tree->todo && tree->scan->count < SCAN_ITEMS_MAX)
        item_add(tree->scan, tree->todo.todo_next);
}

static void scan_start(struct watch_tree *tree)
{
    struct loop *loop = tree->watch->loop;
    loop_id      id = loop_work(loop, LOOP_WORK_DEFAULT, list_all, listed, tree->scan,
                                LOOP_TERMS(.flags = LOOP_BACKGROUND | LOOP_UNCHAINED));

    if (id < 0)
        loop_task_retry(loop, &tree->task);
    else
        tree->scan_id = op_of_object(loop, id);
}

void tree_go_on(struct loop *loop, struct loop_task *task)
{
    struct watch_tree *tree = container_of(task, struct watch_tree, task);

    if (tree->scan_id != 0 || tree->watch->closing)
        return;
    if (tree->scan == NULL && tree->todo.todo_next == &tree->todo) {
        finished(tree);
        return;
    }
    if (tree->scan == NULL) {
        tree->scan = memory_resize(loop, NULL, sizeof(*tree->scan));
        if (tree->scan == NULL) {
            loop_task_retry(loop, task);
            return;
        }
        tree->scan->tree = tree;
        tree->scan->count = 0;
        fill(tree);
    }
    if (tree->scan->count > 0) {
        scan_start(tree);
        return;
    }
    tree_scan_free(tree);
    loop_task_add(loop, task);
}
