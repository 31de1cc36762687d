/* fs/watch_tree.c: the directories of a watched tree: by name below their parent, so that a path is put together when
 * it is needed, and a directory that is renamed takes all below it along. */
#include "fs/watch_tree_private.h"

#include <errno.h>
#include <string.h>

enum { TABLE_LEAST = 64, MASK_NAMES = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO };

/* ---- paths */

int tree_path(const struct tree_node *node, const char *name, char *ret_path, size_t size)
{
    size_t at = size - 1, bytes = strlen(name);

    ret_path[at] = '\0';
    for (;;) {
        if (bytes + 1 > at)
            return -ENAMETOOLONG;
        if (bytes > 0 && ret_path[at] != '\0')
            ret_path[--at] = '/';
        at -= bytes;
        memcpy(ret_path + at, name, bytes);
        if (node == NULL)
            break;
        name = node->name;
        bytes = strlen(name);
        node = node->parent;
    }
    memmove(ret_path, ret_path + at, size - at);
    return 0;
}

int tree_path_absolute(const struct tree_node *node, const char *name, char *ret_path, size_t size)
{
    const char *root = node->tree->watch->name;
    size_t      length = strlen(root);
    int         r;

    if (length + 2 > size)
        return -ENAMETOOLONG;
    r = tree_path(node, name, ret_path + length + 1, size - length - 1);
    if (r < 0)
        return r;
    memcpy(ret_path, root, length);
    ret_path[length] = '/';
    if (ret_path[length + 1] == '\0')
        ret_path[length] = '\0';
    else if (root[length - 1] == '/')
        memmove(ret_path + length, ret_path + length + 1, strlen(ret_path + length));
    return 0;
}

static uint32_t hash_of(const struct tree_node *parent, const char *name)
{
    uint32_t hash = 2166136261u ^ (uint32_t)((uintptr_t)parent >> 5);

    for (; *name != '\0'; name++)
        hash = (hash ^ (uint8_t)*name) * 16777619u;
    return hash ^ hash >> 16;
}

static struct tree_node **bucket(const struct watch_tree *tree, uint32_t hash)
{
    return &tree->table[hash & (tree->table_size - 1)];
}

struct tree_node *tree_child(const struct tree_node *parent, const char *name)
{
    const struct watch_tree *tree = parent->tree;
    uint32_t                 hash = hash_of(parent, name);
    struct tree_node        *node = tree->table_size == 0 ? NULL : *bucket(tree, hash);

    while (node != NULL && (node->hash != hash || node->parent != parent || strcmp(node->name, name) != 0))
        node = node->chain;
    return node;
}

static int grow(struct watch_tree *tree)
{
    size_t             size = tree->table_size == 0 ? TABLE_LEAST : 2 * tree->table_size;
    struct tree_node **table = memory_resize(tree->watch->loop, NULL, size * sizeof(*table)), *node;

    if (table == NULL)
        return tree->table_size == 0 ? -ENOMEM : 0; /* longer chains will do */
    memset(table, 0, size * sizeof(*table));
    for (size_t i = 0; i < tree->table_size; i++) {
        while ((node = tree->table[i]) != NULL) {
            tree->table[i] = node->chain;
            node->chain = table[node->hash & (size - 1)];
            table[node->hash & (size - 1)] = node;
        }
    }
    memory_free(tree->watch->loop, tree->table);
    tree->table = table;
    tree->table_size = size;
    return 0;
}

/* ---- nodes */

static void link_in(struct tree_node *node, struct tree_node *parent)
{
    struct tree_node **at;

    node->parent = parent;
    node->hash = hash_of(parent, node->name);
    at = bucket(node->tree, node->hash);
    node->chain = *at;
    *at = node;
    node->prev = NULL;
    node->next = parent->children;
    if (node->next != NULL)
        node->next->prev = node;
    parent->children = node;
}

static void link_out(struct tree_node *node)
{
    struct tree_node **at = bucket(node->tree, node->hash);

    while (*at != node)
        at = &(*at)->chain;
    *at = node->chain;
    if (node->next != NULL)
        node->next->prev = node->prev;
    if (node->prev != NULL)
        node->prev->next = node->next;
    else
        node->parent->children = node->next;
}

void tree_fail(const struct tree_node *node, int error)
{
    char path[PATH_MAX];

    if (error == -ENOSPC || error == -ENOBUFS)
        node->tree->watch->loop->stats.watches_full++;
    if (tree_path(node, "", path, sizeof(path)) == 0)
        watch_note_failed(node->tree->watch, path, error);
    else
        watch_note_failed(node->tree->watch, node->name, error);
}

static void child_refuse(struct tree_node *parent, const char *name, int error)
{
    struct tree_node unborn = {.tree = parent->tree, .parent = parent, .name = (char *)(uintptr_t)name};

    tree_fail(&unborn, error);
}

static void node_told(struct watch_hook *hook, uint32_t mask, uint32_t cookie, const char *name);

void tree_child_add(struct tree_node *parent, const char *name, enum scan_purpose purpose)
{
    struct watch_tree *tree = parent->tree;
    struct watch      *watch = tree->watch;
    size_t             bytes = strlen(name) + 1;
    struct tree_node  *node;

    if (tree->count >= watch->options.directories_max) {
        child_refuse(parent, name, -ENOBUFS);
        return;
    }
    node = tree->count >= tree->table_size && grow(tree) < 0 ? NULL : memory_resize(watch->loop, NULL, sizeof(*node));
    if (node != NULL) {
        *node = (struct tree_node){.hook = {.watch = watch, .told = node_told}, .tree = tree};
        node->name = memory_resize(watch->loop, NULL, bytes);
    }
    if (node == NULL || node->name == NULL) {
        memory_free(watch->loop, node);
        child_refuse(parent, name, -ENOMEM);
        return;
    }
    memcpy(node->name, name, bytes);
    node->held_end = &node->held;
    link_in(node, parent);
    tree->count++;
    tree_todo_add(node, purpose);
}

void tree_held_free(struct tree_node *node)
{
    struct held_event *held;

    while ((held = node->held) != NULL) {
        node->held = held->next;
        memory_free(node->tree->watch->loop, held);
    }
    node->held_end = &node->held;
    node->holding = false;
}

void tree_node_remove(struct tree_node *node)
{
    struct watch_tree *tree = node->tree;

    while (node->children != NULL)
        tree_node_remove(node->children);
    if (node->parent == NULL)
        return;
    notifier_remove(tree->watch->notifier, &node->hook);
    tree_todo_remove(node);
    tree_moving_end(node);
    if (node->item != NULL)
        node->item->node = NULL;
    tree_held_free(node);
    link_out(node);
    tree->count--;
    memory_free(tree->watch->loop, node->name);
    memory_free(tree->watch->loop, node);
}

/* ---- what the kernel tells */

uint32_t tree_mask(const struct tree_node *node)
{
    return node->tree->watch->mask | MASK_NAMES | IN_ONLYDIR | IN_EXCL_UNLINK |
           (node->parent == NULL ? 0 : IN_DONT_FOLLOW);
}

/* ---- moves: the cookie of the kernel names both halves */

static void moving_add(struct tree_node *node, uint32_t cookie)
{
    tree_moving_end(node);
    node->moving = cookie;
    node->missed = false;
    node->moving_next = node->tree->moving;
    node->tree->moving = node;
}

void tree_moving_end(struct tree_node *node)
{
    struct tree_node **at = &node->tree->moving;

    if (node->moving == 0)
        return;
    while (*at != node)
        at = &(*at)->moving_next;
    *at = node->moving_next;
    node->moving = 0;
}

static struct tree_node *moving(const struct watch_tree *tree, uint32_t cookie)
{
    struct tree_node *node = tree->moving;

    while (node != NULL && node->moving != cookie)
        node = node->moving_next;
    return node;
}

bool tree_is_moving(struct tree_node *node)
{
    if (node->tree->moving == NULL)
        return false;
    while (node != NULL && node->moving == 0)
        node = node->parent;
    if (node == NULL)
        return false;
    node->missed = true;
    return true;
}

/* The directory has a new place, below parent. */
static void relocate(struct tree_node *node, struct tree_node *parent, const char *name)
{
    struct watch *watch = node->tree->watch;
    size_t        bytes = strlen(name) + 1;
    char         *copy = memory_resize(watch->loop, NULL, bytes);

    tree_moving_end(node);
    if (copy == NULL) {
        tree_node_remove(node);
        child_refuse(parent, name, -ENOMEM);
        return;
    }
    memcpy(copy, name, bytes);
    link_out(node);
    memory_free(watch->loop, node->name);
    node->name = copy;
    link_in(node, parent);
    tree_scan_astray(node);
}

/* Whether it is what stands there now. */
static bool stands_at(struct tree_node *node, const struct tree_node *parent, const char *name)
{
    struct notifier  *notifier = node->tree->watch->notifier;
    struct watch_hook probe = {.watch = node->tree->watch, .told = node_told};
    char              path[PATH_MAX];
    bool              same;

    if (node->hook.watched == NULL || tree_path_absolute(parent, name, path, sizeof(path)) < 0 ||
        notifier_add(notifier, &probe, path, tree_mask(node)) < 0)
        return false;
    same = probe.watched == node->hook.watched;
    notifier_remove(notifier, &probe);
    return same;
}

/* RENAME_EXCHANGE is told as two moves: the first to a name that is taken, the second from there. So what leaves such a
 * name may be the directory that was there before, of which nothing is known any more. Where the node stands now proves
 * nothing by itself, for more may have been moved since. */
static void exchanged(struct tree_node *node)
{
    struct watch *watch = node->tree->watch;

    tree_node_remove(node);
    watch_lost(watch, false);
}

/* One that has left its place comes to another. */
static void come_again(struct tree_node *node, struct tree_node *parent, const char *name)
{
    if (node->displaced && !(node->alone && stands_at(node, parent, name))) {
        exchanged(node);
        return;
    }
    node->displaced = false;
    relocate(node, parent, name);
}

/* cookie: 0 if it comes from elsewhere. */
static void directory_moved_in(struct tree_node *parent, uint32_t cookie, const char *name)
{
    struct tree_node *there = tree_child(parent, name);
    struct tree_node *node = cookie == 0 ? NULL : moving(parent->tree, cookie);
    bool              displaced = there != NULL && there != node && there->moving == 0;
    bool              alone = displaced && notifier_remove(parent->tree->watch->notifier, &there->hook);

    if (there != NULL && there != node)
        tree_node_remove(there); /* an empty directory, replaced; or see exchanged() */
    if (node == NULL)
        tree_child_add(parent, name, SCAN_TELL);
    else
        come_again(node, parent, name);
    node = displaced ? tree_child(parent, name) : NULL;
    if (node != NULL) {
        node->displaced = true;
        node->alone = alone;
    }
}

/* One that does not come in again elsewhere in the tree is given up when that is told. */
void watch_tree_moved_out(struct watch *watch, uint32_t cookie)
{
    struct tree_node *node = moving(watch->tree, cookie);

    if (node == NULL)
        return;
    if (node->displaced && (!node->alone || node->hook.watched == NULL || stands_at(node, node->parent, node->name)))
        exchanged(node);
    else
        tree_node_remove(node);
}

static void directory_event(struct tree_node *node, uint32_t mask, uint32_t cookie, const char *name)
{
    struct tree_node *child = tree_child(node, name);

    if ((mask & IN_MOVED_TO) != 0) {
        directory_moved_in(node, cookie, name);
    } else if ((mask & IN_CREATE) != 0) {
        if (child != NULL && child->moving != 0) { /* that has left for good */
            tree_node_remove(child);
            child = NULL;
        }
        if (child == NULL)
            tree_child_add(node, name, SCAN_TELL);
    } else if ((mask & IN_DELETE) != 0 && child != NULL) {
        tree_node_remove(child);
    } else if ((mask & IN_MOVED_FROM) != 0 && child != NULL) {
        moving_add(child, cookie);
    }
}

/* Of the root alone it is told what happens to itself: of the others their parent has it. */
static void self_event(struct tree_node *node, uint32_t mask)
{
    struct watch *watch = node->tree->watch;

    if (node->parent == NULL)
        (void)watch_translate(watch, mask & ~(uint32_t)MASK_NAMES, 0, "");
}

void tree_node_event(struct tree_node *node, uint32_t mask, uint32_t cookie, const char *name)
{
    const struct tree_node *mover = (mask & IN_MOVED_TO) != 0 ? moving(node->tree, cookie) : NULL;
    char                    path[PATH_MAX];
    bool                    paired = false;

    if (tree_is_moving(node))
        return;
    if (name[0] == '\0') {
        self_event(node, mask);
        return;
    }
    if (mover != NULL && mover->missed)
        cookie = 0;
    if (tree_path(node, name, path, sizeof(path)) < 0)
        child_refuse(node, name, -ENAMETOOLONG);
    else
        paired = watch_translate(node->tree->watch, mask, cookie, path);
    if ((mask & IN_MOVED_TO) != 0 && !paired)
        cookie = 0;
    if ((mask & IN_ISDIR) != 0)
        directory_event(node, mask, cookie, name);
}

static void hold(struct tree_node *node, uint32_t mask, uint32_t cookie, const char *name)
{
    struct loop       *loop = node->tree->watch->loop;
    struct held_event *held = memory_resize(loop, NULL, sizeof(*held) + strlen(name) + 1);

    if (held == NULL) {
        watch_lost(node->tree->watch, false);
        return;
    }
    *held = (struct held_event){.mask = mask, .cookie = cookie};
    memcpy(held->name, name, strlen(name) + 1);
    *node->held_end = held;
    node->held_end = &held->next;
}

static void gone(struct tree_node *node, uint32_t mask)
{
    struct watch *watch = node->tree->watch;
    char          path[PATH_MAX];

    if ((mask & IN_UNMOUNT) != 0 && node->parent == NULL)
        watch_end(watch, LOOP_WATCH_UNMOUNTED);
    else if ((mask & IN_UNMOUNT) != 0 && tree_path(node, "", path, sizeof(path)) == 0)
        watch_note(watch, LOOP_WATCH_UNMOUNTED, path, true);
    if ((mask & IN_IGNORED) == 0)
        return;
    tree_node_remove(node);
    if (node == &watch->tree->root)
        watch_end(watch, LOOP_WATCH_SELF_DELETED);
}

static void node_told(struct watch_hook *hook, uint32_t mask, uint32_t cookie, const char *name)
{
    struct tree_node *node = container_of(hook, struct tree_node, hook);

    if (hook->watch->closing)
        return;
    if ((mask & (IN_IGNORED | IN_UNMOUNT)) != 0)
        gone(node, mask);
    else if (node->holding)
        hold(node, mask, cookie, name);
    else
        tree_node_event(node, mask, cookie, name);
}

/* ---- life */

int watch_tree_start(struct watch *watch)
{
    struct watch_tree *tree = memory_resize(watch->loop, NULL, sizeof(*tree));
    int                r;

    if (tree == NULL)
        return -ENOMEM;
    memset(tree, 0, sizeof(*tree));
    watch->tree = tree;
    tree->watch = watch;
    tree->task.run = tree_go_on;
    tree->count = 1;
    tree->todo.todo_next = &tree->todo;
    tree->todo.todo_prev = &tree->todo;
    tree->root.tree = tree;
    tree->root.name = tree->empty;
    tree->root.held_end = &tree->root.held;
    tree->root.hook.watch = watch;
    tree->root.hook.told = node_told;
    r = grow(tree);
    if (r == 0)
        r = notifier_add(watch->notifier, &tree->root.hook, watch->name, tree_mask(&tree->root));
    if (r == 0)
        tree_todo_add(&tree->root, SCAN_FIRST);
    return r;
}

void watch_tree_lost(struct watch *watch)
{
    struct watch_tree *tree = watch->tree;

    if (watch->closing || watch->ended)
        return;
    if (tree->checking) {
        tree->check_again = true;
        return;
    }
    tree->checking = true;
    tree_todo_add(&tree->root, SCAN_CHECK);
}

bool watch_tree_looks_again(const struct watch *watch)
{
    return watch->tree->checking;
}

bool watch_tree_close(struct watch *watch)
{
    if (watch->tree->scan_id != 0)
        (void)loop_cancel(watch->loop, watch->tree->scan_id);
    return watch->tree->scan_id == 0;
}

void watch_tree_free(struct watch *watch)
{
    struct watch_tree *tree = watch->tree;

    tree_node_remove(&tree->root);
    notifier_remove(watch->notifier, &tree->root.hook);
    tree_held_free(&tree->root);
    tree_scan_free(tree); /* nodes have had their places in it */
    if (tree->task.next != NULL)
        task_list_remove(&tree->task);
    memory_free(watch->loop, tree->table);
    memory_free(watch->loop, tree);
}

uint32_t watch_tree_directories(const struct watch *watch)
{
    return watch->ended ? 0 : (uint32_t)watch->tree->count;
}
