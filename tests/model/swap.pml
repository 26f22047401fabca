/* A model's versions: published, taken by requests and batches, replaced, retired when nobody uses them any more.
 *
 * After daemon/models.c, daemon/version.c, daemon/admit.c and daemon/workers.c. The loop publishes what the loader has
 * made and drops the table's reference; requests take theirs when they are admitted, on the loop or by a worker that
 * pulls from a ring (under the workers' lock), batches take one when a worker chooses what they run on; whoever lets
 * the last one go puts the version on the loader's list, the loader unmaps its image and posts the rest to the loop,
 * which frees it.
 *
 * Checked: no version is used, taken or let go once it is retired, none is retired twice (assertions); in the end
 * all that was loaded but what is served has been unmapped and freed, and nobody waits for ever (invalid end states).
 *
 * -DBROKEN_ADMIT: a ring's request takes its version when the lock is given up. -DBROKEN_ORDER: the old version is let go
 * before the new one is in the table. -DBROKEN_BATCH: a batch takes no reference to what it runs on. -DBROKEN_PUT: the
 * count goes down and is looked at in two steps. -DBROKEN_LEAK: a request that a newer version answered keeps its
 * own. Each of these has to be found. */
#ifndef VERSIONS
#define VERSIONS 3
#endif
#ifndef WORKERS
#define WORKERS 2
#endif
#ifndef STREAM
#define STREAM 2 /* requests that the loop admits */
#endif
#ifndef RING
#define RING 2 /* requests that workers pull */
#endif
#define NONE 255

mtype = {UNMADE, MAPPED, UNMAPPED, FREED};
mtype state[VERSIONS] = UNMADE;
byte references[VERSIONS];
bool retired[VERSIONS];
byte current = NONE; /* the table: changed by the loop, under the lock; read by it without */
bool locked;         /* the workers' lock */
byte to_pull = RING, answered, n_freed;
chan waiting = [STREAM + RING] of {byte}; /* the batcher: each by the version that it was checked against */
chan to_unmap = [VERSIONS] of {byte};     /* the loader's list */
chan loaded = [VERSIONS] of {byte};       /* posts to the loop */
chan unmapped = [VERSIONS] of {byte};

#define ALL_ANSWERED (answered == STREAM + RING)
#define take_lock() atomic { !locked -> locked = true }
#define give_lock() locked = false

/* What has been retired is nobody's to touch: its image may be gone, and itself. */
inline use(v) { assert(state[v] == MAPPED && !retired[v] && references[v] > 0) }

inline version_get(v) {
    atomic {
        assert(state[v] == MAPPED && !retired[v]);
        references[v]++
    }
}

inline version_put(v) {
#ifdef BROKEN_PUT
    references[v]--;
    if
    :: references[v] == 0 ->
#else
    atomic {
        assert(references[v] > 0);
        references[v]--;
        last = references[v] == 0
    };
    if
    :: last ->
#endif
        atomic { /* retire_version */
            assert(!retired[v]);
            retired[v] = true;
            to_unmap!v
        }
    :: else
    fi;
    last = false
}

proctype worker() {
    byte v, on, seen;
    bool last;
end:
    do
    :: atomic { !locked && (to_pull > 0 || nempty(waiting)) -> locked = true };
        if /* ring.c: pull, admit */
        :: to_pull > 0 && current != NONE ->
            to_pull--;
#ifdef BROKEN_ADMIT
            seen = current;
            give_lock();
            version_get(seen);
            take_lock();
#else
            seen = current;
            version_get(seen);
#endif
            waiting!seen
        :: to_pull > 0 && current == NONE -> to_pull--; answered++ /* NO_MODEL */
        :: true
        fi;
        if
        :: nempty(waiting) ->
            waiting?v;
            if /* choose_version: the newest, where clients see no difference; else the request's own */
            :: current != NONE -> on = current
            :: on = v
            fi;
#ifndef BROKEN_BATCH
            version_get(on);
#endif
            give_lock();
            use(on); /* runner_run */
            use(on);
            /* end_batch: complete lets the request's go, then the batch's */
#ifdef BROKEN_LEAK
            if
            :: on == v -> version_put(v)
            :: else
            fi;
#else
            version_put(v);
#endif
#ifndef BROKEN_BATCH
            version_put(on);
#endif
            answered++
        :: empty(waiting) -> give_lock()
        fi;
        v = 0; on = 0; seen = 0
    od
}

proctype loader() {
    byte v, next;
end:
    do
    :: atomic { nempty(to_unmap) -> to_unmap?v };
        state[v] = UNMAPPED;
        unmapped!v;
        v = 0
    :: empty(to_unmap) && next < VERSIONS -> /* load: warmed by the workers before anyone else knows it */
        atomic {
            state[next] = MAPPED;
            references[next] = 1;
            loaded!next;
            next++
        }
    od
}

proctype loop() {
    byte v, old, n_published, to_admit = STREAM;
    bool last, withdrawn;
end:
    do
    :: atomic { nempty(loaded) -> loaded?v }; /* publish */
        old = current;
#ifdef BROKEN_ORDER
        if
        :: old != NONE -> version_put(old)
        :: else
        fi;
#endif
        take_lock();
        current = v;
        give_lock();
#ifndef BROKEN_ORDER
        if
        :: old != NONE -> version_put(old)
        :: else
        fi;
#endif
        n_published++;
        v = 0; old = 0
    :: atomic { nempty(unmapped) -> unmapped?v }; /* on_unmapped */
        assert(references[v] == 0 && retired[v]);
        state[v] = FREED;
        n_freed++;
        v = 0
    :: to_admit > 0 -> /* a frame */
        to_admit--;
        if
        :: current == NONE -> answered++
        :: else ->
            old = current;
            version_get(old);
            take_lock();
            waiting!old; /* workers_submit */
            give_lock();
            old = 0
        fi
    :: n_published == VERSIONS && !withdrawn && current != NONE -> /* its file is gone */
        withdrawn = true;
        old = current;
        take_lock();
        current = NONE;
        give_lock();
        version_put(old);
        old = 0
    od
}

/* When all has been answered and the model is gone, so is every version. */
proctype last_look() {
    (ALL_ANSWERED && n_freed == VERSIONS);
    byte v;
    for (v : 0 .. VERSIONS - 1) {
        assert(references[v] == 0 && retired[v] && state[v] == FREED)
    }
    assert(current == NONE && empty(waiting))
}

init {
    byte k;
    atomic {
        for (k : 1 .. WORKERS) { run worker() }
        run loader();
        run loop();
        run last_look()
    }
}
